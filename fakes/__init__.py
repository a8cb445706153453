"""In-memory ports with memory, shared by tests, simulator and devstack."""
