"""Hold the shipped stores of versions other than the local registry, one module each."""
