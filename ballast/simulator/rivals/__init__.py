"""The rivals: published scaling laws, each a small file with its source and defaults."""
