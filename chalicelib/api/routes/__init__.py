"""Chalice blueprints, one file a family of routes."""
