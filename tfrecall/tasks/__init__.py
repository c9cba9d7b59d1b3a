"""Losses, and the Keras metrics of validation."""
