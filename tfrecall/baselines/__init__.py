"""Models without gradients: popularity, neighbours of items and users, EASE, Swing, ALS."""
