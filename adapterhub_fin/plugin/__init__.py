"""Everything that a plugin may import; the rest of the package is private."""
