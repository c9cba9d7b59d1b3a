"""One run, described: TOML to checked settings."""
