"""Prompts for benchmarks: random, so that no prompt cache flatters the result."""

from __future__ import annotations

import random

_SYLLABLES = ("ba", "ke", "li", "mo", "nu", "pra", "ro", "si", "ta", "ve", "wo", "zi")


def random_prompt(rng: random.Random, n_words: int) -> str:
    """`n_words` pronounceable words."""
    words = ("".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(n_words))
    return " ".join(words)
