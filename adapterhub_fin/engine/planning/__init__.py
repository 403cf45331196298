"""Estimate a run before anything is loaded: parameters, memory and time, from a dry run on fake tensors."""
