"""What is spent, what may be spent, and what is booked."""
