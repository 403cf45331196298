"""Metrics of text that is written, from two arrays of strings (rows,): the truth and the answer."""
