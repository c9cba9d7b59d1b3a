"""Data sets by name: MovieLens from files, from TensorFlow Datasets or from a package, and synthetic logs."""
