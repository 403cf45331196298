"""Shipped heads, one file each."""
