"""Data sets that are generated, or fetched by name."""
