"""Load test: open-loop arrivals, what became of each request, and the figures."""
