"""Handle keys, signatures, policies and the client's configuration."""
