"""Read prices, dated text and features as they were known: a plugin of adapterhub_fin, extra `markets`."""
