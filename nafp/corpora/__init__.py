"""Many recordings as one: manifests, splits, the packed corpus, banks of noise and responses."""
