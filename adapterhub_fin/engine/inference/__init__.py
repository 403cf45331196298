"""Load versions and answer with them: predict, embed, generate and stream."""
