"""Recipes: one run as one document, with its split, its schedule and its calendar."""
