"""Merge stored adapters: read their changes, combine them parameter by parameter, and write the result."""
