"""The marketplace port over Vast's HTTP API."""
