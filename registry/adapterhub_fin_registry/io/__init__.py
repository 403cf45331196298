"""Files: read and write them safely, hash them, and read the clock."""
