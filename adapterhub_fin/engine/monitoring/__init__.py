"""Compare what a version reads and answers today with what it was tested on."""
