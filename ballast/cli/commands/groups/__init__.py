"""Groups and autogroups: made, changed, shared out, rolled back, deleted."""
