"""cocoon-e2e/1 without I/O: bytes in, typed events out."""
