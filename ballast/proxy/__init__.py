"""One-step proxy: an OpenAI-compatible address for clients that cannot route. Keeps no state."""
