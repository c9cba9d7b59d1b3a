"""Losses and the Keras metrics beside them."""
