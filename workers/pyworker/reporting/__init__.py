"""What a worker tells the control plane, and what it counts."""
