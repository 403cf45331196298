"""Draw a report of a version: its run, its answers on held-out rows, its data and its lineage."""
