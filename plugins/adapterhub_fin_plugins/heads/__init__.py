"""Bring the shipped heads, one file each."""
