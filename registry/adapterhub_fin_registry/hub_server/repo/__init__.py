"""Show the registry's names as a Hub's repositories: trees, commits, cards and lists."""
