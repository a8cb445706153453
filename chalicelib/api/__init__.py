"""Chalice blueprints: parse, one service call, status."""
