"""Define the registry's documents: references, manifests, versions, events, knowledge dates and lock files."""
