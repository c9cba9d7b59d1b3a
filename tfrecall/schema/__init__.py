"""Features, encoders, labels, targets and sources of negatives, as plain data: no TensorFlow."""
