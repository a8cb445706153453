"""The owner's command: ballast."""
