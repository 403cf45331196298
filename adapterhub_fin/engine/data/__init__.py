"""Corpora: read rows, split them into train, validation and test, and date what they could have known."""
