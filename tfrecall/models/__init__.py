"""Keras models: two towers, DSSM, YouTubeDNN, rankers."""
