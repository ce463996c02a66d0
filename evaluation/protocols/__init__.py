"""A TOML file in, one table out."""
