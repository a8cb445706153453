"""The pretend market: one deterministic behaviour behind the port and the HTTP server."""
