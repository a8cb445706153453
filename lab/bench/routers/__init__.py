"""Many routers on one stale view."""
