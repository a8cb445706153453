"""Calls to the marketplace: paced, launched, looked at, ended."""
