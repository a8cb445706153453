"""What services need from the world, as Protocols, one noun a file."""
