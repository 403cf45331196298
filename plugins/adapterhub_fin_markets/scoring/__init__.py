"""Score predictions against what followed, era by era."""
