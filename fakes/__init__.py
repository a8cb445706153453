"""In-memory ports with memory, shared by tests, simulator and the local system."""
