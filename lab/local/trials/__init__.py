"""Soak, wake and the rehearsal of a deployment."""
