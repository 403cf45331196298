"""Answer with many adapters at once on one base: a call's rows each name their own adapter, from any thread."""
