"""A Hub as a store, by its own client `huggingface_hub`, which is imported when a Hub is asked and never before."""
