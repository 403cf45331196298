"""Shipped corpora, one file each."""
