"""Train bases of one's own on dated text."""
