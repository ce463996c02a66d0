"""Sound on disk becomes segments: decoding, manifests, the packed corpus, banks of noise and responses."""
