"""Hold the shipped merge algorithms: pure functions of one module's changes."""
