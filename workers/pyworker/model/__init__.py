"""The model server's side: requests, benchmark, health, log."""
