"""Evaluate versions, compare them, and find rows that training saw."""
