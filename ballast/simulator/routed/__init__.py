"""The product's own routers in virtual time, over stale views."""
