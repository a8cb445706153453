"""Model servers to rent: a made-up one, and llama.cpp."""
