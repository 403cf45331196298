"""Search a recipe's options: many runs, each in its own process, of which validation chooses one to store."""
