"""Search a registry: the query language, its compilation to SQL, and an index in the user's cache."""
