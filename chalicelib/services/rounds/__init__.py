"""The scaling loop: read, decide, act."""
