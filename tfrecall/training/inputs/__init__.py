"""Batches of training: examples, negatives, mined negatives, lists."""
