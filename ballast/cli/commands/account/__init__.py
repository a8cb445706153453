"""What holds over all groups: caps, keys, brakes, and which machines are ours."""
