"""The whole local system, started and ended together."""
