"""Serve a registry over HTTP, with the protocol of the Hugging Face Hub's clients."""
