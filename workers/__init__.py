"""Everything that runs on a rented GPU."""
