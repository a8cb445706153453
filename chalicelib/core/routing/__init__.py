"""Which worker gets a request, who waits, and whose turn is next."""
