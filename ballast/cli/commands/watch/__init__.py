"""What is there, what happened, what it cost, what happens next: these change nothing."""
