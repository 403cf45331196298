"""Fold an adapter into its base, and extract an adapter from a fully tuned model."""
