"""Benchmarks: each prints a ratio against its limit or rival."""
