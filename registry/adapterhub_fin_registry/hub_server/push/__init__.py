"""Read pushed commits and uploads, check them, and store them as versions."""
