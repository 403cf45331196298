"""Everything that computes: training, inference, merging, folding and evaluation. torch is imported here alone."""
