"""Make versions: train from recipes, one run or one for each window of a walk forward, and save models in memory."""
