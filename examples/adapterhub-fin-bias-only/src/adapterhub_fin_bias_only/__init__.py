"""BitFit and a corpus of earnings notes, as plugins of adapterhub-fin."""
