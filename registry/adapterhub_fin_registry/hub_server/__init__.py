"""The registry served over HTTP, in the protocol that the clients of the Hugging Face Hub speak."""
