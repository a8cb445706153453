"""Back end: the smallest one, to copy from."""
