"""Compute features of prices, each cell known at an instant."""
