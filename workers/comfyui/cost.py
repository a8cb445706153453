"""Cost rule of ComfyUI: tiles x steps, normalised so that an RTX 4090 scores a perf of 200.

Facts of the vendor's 2024 worker. An image costs 85 base tokens and 175 per 512 x 512 tile, scaled
by the measured time over steps, 0.61 * steps + 6.57. A standard image (1024 x 1024, 28 steps)
counts 200 for each second an RTX 4090 needs for it: 23 s with Flux, 6 s with SD3. Of the other
models the unit is SD3's, so that their perf is what their GPU really makes of it.

A graph costs the sum over its samplers: each with its own steps, and the size, batch and frames of
the latent that it works on. Numbers may be texts, as ComfyUI takes them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import ceil

STANDARD_PERF = 200.0
RTX_4090_S = {"flux": 23.0, "sd3": 6.0, "sd3.5": 6.0, "sdxl": 6.0}
"""Seconds an RTX 4090 needs for a standard image; the keys are the values of COMFY_MODEL."""

MAX_COST = 1e9
MAX_SIZE = 16_384.0
"""ComfyUI's own largest side (`EmptyImage`, tests/evidence/models/comfyui-0.3.64.json)."""
MAX_STEPS = 10_000.0
MAX_BATCH = 4096.0
MAX_DEPTH = 64
DEFAULT_SIZE, DEFAULT_STEPS = 1024.0, 20.0
"""Of a graph that says nothing; 20 steps are what ComfyUI's KSampler begins with."""

_TILE = 512
_BASE_TOKENS = 85.0
_TILE_TOKENS = 175.0

Graph = Mapping[str, object]


def image_workload(model: str, width: float, height: float, steps: float) -> float:
    """Load of one image; 4,600 for a standard one with Flux, 1,200 with SD3.

    Raises:
        KeyError: no such model.
    """
    share = _tokens(width, height, steps) / _tokens(1024, 1024, 28)
    return RTX_4090_S[model] * STANDARD_PERF * share


def graph_workload(model: str, graph: Graph, cached: Collection[str] = ()) -> float:
    """Load of a graph in API format without the nodes whose results ComfyUI still had.

    A graph without a sampler costs an image of no steps.

    Raises:
        KeyError: no such model.
    """
    samplers = [name for name, node in graph.items() if _is_sampler(node)]
    at_work = [name for name in samplers if name not in cached]
    cost = sum(_sampler_workload(model, graph, name) for name in at_work)
    if samplers:
        return min(cost, MAX_COST)
    width, height = (_widest(graph, name) for name in ("width", "height"))
    return min(image_workload(model, width, height, 0.0), MAX_COST)


def _sampler_workload(model: str, graph: Graph, name: str) -> float:
    steps = _upstream(graph, name, "steps", MAX_STEPS) or DEFAULT_STEPS
    width = _upstream(graph, name, "width", MAX_SIZE) or _widest(graph, "width")
    height = _upstream(graph, name, "height", MAX_SIZE) or _widest(graph, "height")
    n_images = _upstream(graph, name, "batch_size", MAX_BATCH) or 1.0
    n_frames = _upstream(graph, name, "length", MAX_BATCH) or 1.0
    return image_workload(model, width, height, steps) * n_images * n_frames


def _is_sampler(node: object) -> bool:
    """A node that denoises: its class says so, and it takes a latent."""
    inputs = inputs_of(node)
    kind = node.get("class_type") if isinstance(node, dict) else None
    named = isinstance(kind, str) and "sampler" in kind.lower()
    return named and ("latent_image" in inputs or "steps" in inputs)


def _upstream(graph: Graph, start: str, name: str, most: float) -> float:
    """The largest number called `name` at the nearest node up the links from `start`; 0: none."""
    level, seen = [start], {start}
    for _ in range(MAX_DEPTH):
        found = [number(inputs_of(graph.get(node)).get(name), most) for node in level]
        if largest := max(found, default=0.0):
            return largest
        links = {link for node in level for link in _links(graph, node)}
        level = sorted(links - seen)
        seen |= links
        if not level:
            break
    return 0.0


def _links(graph: Graph, name: str) -> list[str]:
    return [
        str(value[0])
        for value in inputs_of(graph.get(name)).values()
        if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph
    ]


def _widest(graph: Graph, name: str) -> float:
    values = [number(inputs_of(node).get(name), MAX_SIZE) for node in graph.values()]
    return max(values, default=0.0) or DEFAULT_SIZE


def number(value: object, most: float) -> float:
    """A number above 0, also as a text, at most `most`; 0 for anything else."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = float(value)
        except ValueError:
            return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(min(value, most)) if value > 0 else 0.0  # no number is above 0 that is not one


def inputs_of(node: object) -> dict[str, object]:
    """A node's inputs; none for what is no node."""
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def _tokens(width: float, height: float, steps: float) -> float:
    tiles = ceil(width / _TILE) * ceil(height / _TILE)
    return (_BASE_TOKENS + tiles * _TILE_TOKENS) * (0.61 * steps + 6.57)
