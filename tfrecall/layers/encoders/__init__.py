"""Keras layers from a history to a vector."""
