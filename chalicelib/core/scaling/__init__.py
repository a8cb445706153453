"""How much capacity a group should have, and why."""
