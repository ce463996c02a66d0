"""How well: queries, protocols, metrics, tables. Numpy only; never JAX."""
