"""Repositories as a Hub shows them: trees, commits, cards and lists of what the registry holds."""
