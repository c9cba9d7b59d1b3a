"""Logs beyond memory: cut into pieces, gathered by users into shards, read back as one log."""
