"""Statistics on plain arrays, without torch."""
