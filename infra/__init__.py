"""Deployment: templates, policies, and the command that puts them together."""
