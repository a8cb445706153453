"""Tried out: one request, a fault of the local system, other parameters in the simulator."""
