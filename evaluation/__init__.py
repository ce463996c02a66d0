"""How well: queries, protocols, metrics, tables. Numpy only. Never JAX."""
