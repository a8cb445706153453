"""What a person asks and changes."""
