"""Cost rule of ComfyUI: tiles x steps, normalised so that an RTX 4090 scores a perf of 200.

Facts of the vendor's 2024 worker. An image costs 85 base tokens and 175 per 512 x 512 tile, scaled
by the measured time over steps, 0.61 * steps + 6.57. A standard image (1024 x 1024, 28 steps)
counts 200 for each second an RTX 4090 needs for it: 23 s with Flux, 6 s with SD3.
"""

from __future__ import annotations

from math import ceil

STANDARD_PERF = 200.0
RTX_4090_S = {"flux": 23.0, "sd3": 6.0}
"""Seconds an RTX 4090 needs for a standard image; the keys are the values of COMFY_MODEL."""

_TILE = 512
_BASE_TOKENS = 85.0
_TILE_TOKENS = 175.0


def image_workload(model: str, width: float, height: float, steps: float) -> float:
    """Load of one image; 4,600 for a standard one with Flux, 1,200 with SD3.

    Raises:
        KeyError: no such model.
    """
    share = _tokens(width, height, steps) / _tokens(1024, 1024, 28)
    return RTX_4090_S[model] * STANDARD_PERF * share


def _tokens(width: float, height: float, steps: float) -> float:
    tiles = ceil(width / _TILE) * ceil(height / _TILE)
    return (_BASE_TOKENS + tiles * _TILE_TOKENS) * (0.61 * steps + 6.57)
