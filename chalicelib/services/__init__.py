"""Use cases: read, decide, act."""
