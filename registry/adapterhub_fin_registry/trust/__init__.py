"""Keys, signatures, policies and the client's configuration."""
