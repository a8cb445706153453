"""A control plane with made-up scenes, for the dashboard."""
