"""Search: the language, its compilation to SQL, and an index in the user's cache that is never the truth."""
