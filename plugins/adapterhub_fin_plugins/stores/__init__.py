"""Where versions are kept beside the local registry, one file a store."""
