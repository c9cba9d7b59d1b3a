"""Keras layers from a feature to a vector."""
