"""Train, load, save: torch lives here and below, nowhere else in the core."""
