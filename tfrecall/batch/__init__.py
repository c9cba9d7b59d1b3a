"""Jobs over many users of a release: recommendations and vectors to Parquet."""
