"""Vast's API over HTTP, with worker processes as machines."""
