"""Proof without spending: the local system and the benchmarks."""
