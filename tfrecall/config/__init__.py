"""Configuration: TOML recipes as checked dataclasses. `tr.load_config` reads them."""
