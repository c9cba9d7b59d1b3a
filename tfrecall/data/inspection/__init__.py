"""A look at a log before learning from it."""
