"""Train adapters from recipes: one run, or one for each window of a walk forward."""
