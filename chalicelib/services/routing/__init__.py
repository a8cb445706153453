"""A request for a worker, and a worker's report."""
