"""Read and write files safely, hash them, and read the clock."""
