"""Provide BitFit, a corpus of earnings notes and a merger, as plugins of adapterhub-fin."""
