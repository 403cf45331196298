"""Merge algorithms, pure functions of one module's changes."""
