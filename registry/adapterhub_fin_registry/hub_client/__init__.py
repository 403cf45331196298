"""Read and publish versions on a Hub with `huggingface_hub`, which is imported only when a Hub is used."""
