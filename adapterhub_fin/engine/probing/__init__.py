"""Look inside a version: the hidden states of every layer, of its bare base and of itself, on the same rows."""
