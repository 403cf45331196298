"""Base models: find, fingerprint, check and load them, and share one among threads."""
