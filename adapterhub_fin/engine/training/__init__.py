"""Create versions: train a recipe, train a walk-forward series, or save a model from memory."""
