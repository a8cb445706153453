"""Messages: JSON shapes, and the exact bytes that are signed. Shared with workers and clients."""
