"""Merge stored adapters: read what each changes, combine it module by module, write the result as an adapter."""
