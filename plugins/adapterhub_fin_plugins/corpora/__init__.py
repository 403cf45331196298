"""Hold the shipped corpora, one module each."""
