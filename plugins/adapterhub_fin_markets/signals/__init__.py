"""Turn dated texts and an adapter into dated opinions about instruments."""
