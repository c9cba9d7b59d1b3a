"""Formats of the files that hold a log or a table."""
