"""The main jobs: run, tune, cross-validate, compare on the same rows."""
