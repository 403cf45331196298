"""Handle versions on disk: add, resolve, verify, delete and trace them."""
