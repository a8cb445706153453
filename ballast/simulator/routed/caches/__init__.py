"""Caches of prompts: how routing finds them, on workers that remember blocks."""
