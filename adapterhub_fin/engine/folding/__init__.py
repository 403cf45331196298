"""Adapters and whole models: a change folded into its base, and a whole model's difference taken as a change."""
