"""Cost rule of ComfyUI: tiles x steps, normalised so that an RTX 4090 scores a perf of 200.

Facts of the vendor's 2024 worker. An image costs 85 base tokens and 175 per 512 x 512 tile, scaled
by the measured time over steps, 0.61 * steps + 6.57. A standard image (1024 x 1024, 28 steps)
counts 200 for each second an RTX 4090 needs for it: 23 s with Flux, 6 s with SD3. Of the other
models the unit is SD3's, so that their perf is what their GPU really makes of it.

A graph costs the sum over its samplers: each with its own steps, and the size, batch and frames of
the latent that it works on. Numbers may be texts, as ComfyUI takes them. An uploaded image tells
its size itself (`image_size.py`); one that lies at ComfyUI already counts as a usual image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from types import MappingProxyType

from chalicelib.wire.ticket import MAX_COST

STANDARD_PERF = 200.0
RTX_4090_S = {"flux": 23.0, "sd3": 6.0, "sd3.5": 6.0, "sdxl": 6.0}
"""Seconds an RTX 4090 needs for a standard image; the keys are the values of COMFY_MODEL."""

MAX_SIZE = 16_384.0
"""ComfyUI's own largest side (`EmptyImage`, tests/evidence/models/comfyui-0.3.64.json)."""
MAX_STEPS = 10_000.0
MAX_BATCH = 4096.0
MAX_ZOOM = 64.0
MAX_DEPTH = 64
MAX_LINKED = 4
MAX_LOOKS = 20_000
"""Of nodes, for all samplers of a graph; those that are left out count as a usual image."""
FIELDS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "steps": (("steps",), MAX_STEPS),
    "width": (("width",), MAX_SIZE),
    "height": (("height",), MAX_SIZE),
    "batch": (("batch_size",), MAX_BATCH),
    "frames": (("length", "video_frames", "num_frames"), MAX_BATCH),
}
FACTORS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "zoom": (("scale_by",), MAX_ZOOM),
    "copies": (("amount",), MAX_BATCH),
}
"""Inputs by these names: ComfyUI 0.3.64's nodes (`inputs` in the evidence), but for `num_frames`,
which nodes for video of others have."""
MAX_MEGAPIXELS = 16.0
"""ComfyUI's own largest, of `ImageScaleToTotalPixels`, which makes an image of so many 1024 x 1024
(comfy_extras/nodes_post_processing.py): its templates for editing take the size from there."""
DEFAULT_SIZE, DEFAULT_STEPS = 1024.0, 20.0
"""Of a graph that says nothing; 20 steps are what ComfyUI's KSampler begins with."""

_TILE = 512
_BASE_TOKENS = 85.0
_TILE_TOKENS = 175.0

Graph = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Of an uploaded image; `n_frames` of an animation, of which ComfyUI makes a batch."""

    width: int
    height: int
    n_frames: int = 1


def image_workload(model: str, width: float, height: float, steps: float) -> float:
    """Load of one image; 4,600 for a standard one with Flux, 1,200 with SD3.

    Raises:
        KeyError: no such model.
    """
    share = _tokens(width, height, steps) / _tokens(1024, 1024, 28)
    return RTX_4090_S[model] * STANDARD_PERF * share


def graph_workload(
    model: str,
    graph: Graph,
    cached: Collection[str] = (),
    uploads: Mapping[str, ImageSize] = MappingProxyType({}),
) -> float:
    """Load of a graph in API format without the nodes whose results ComfyUI still had.

    `uploads`: sizes of the images that come with it, by their names in the graph. A graph without
    a sampler costs an image of no steps.

    Raises:
        KeyError: no such model.
    """
    graph = _with_sizes(graph, uploads) if uploads else graph
    samplers = [name for name, node in graph.items() if _is_sampler(node)]
    looks = _Looks(usual={side: _widest(graph, side) for side in ("width", "height")})
    at_work = [name for name in samplers if name not in cached]
    cost = sum(_sampler_workload(model, graph, name, looks) for name in at_work)
    if samplers:
        return min(cost, MAX_COST)
    return min(image_workload(model, looks.usual["width"], looks.usual["height"], 0.0), MAX_COST)


def _with_sizes(graph: Graph, uploads: Mapping[str, ImageSize]) -> Graph:
    """The graph with numbers at the nodes that load uploads, beside those that they have."""
    priced: dict[str, object] = {}
    for name, node in graph.items():
        inputs = inputs_of(node)
        named = [uploads[one] for one in inputs.values() if isinstance(one, str) and one in uploads]
        if isinstance(node, dict) and named:
            sizes: dict[str, object] = {
                "width": max(size.width for size in named),
                "height": max(size.height for size in named),
                "batch_size": max(size.n_frames for size in named),
            }
            node = node | {"inputs": sizes | inputs}
        priced[name] = node
    return priced


@dataclass(slots=True)
class _Looks:
    """How many more nodes may be looked at: a graph is priced in milliseconds, whoever wrote it.

    `usual`: the sides of an image of which the graph does not say which sampler it is of.
    """

    usual: dict[str, float]
    left: int = MAX_LOOKS


def _sampler_workload(model: str, graph: Graph, name: str, looks: _Looks) -> float:
    told = looks.usual | _upstream(graph, name, looks)
    zoom, n_copies = told.get("zoom", 1.0), told.get("copies", 1.0)
    n_images = told.get("batch", 1.0) * n_copies * told.get("frames", 1.0)
    steps = _steps_done(graph, name, told.get("steps") or DEFAULT_STEPS)
    width, height = (min(told[side] * zoom, MAX_SIZE) for side in ("width", "height"))
    return min(image_workload(model, width, height, steps) * n_images, MAX_COST)


def _steps_done(graph: Graph, name: str, steps: float) -> float:
    """Of a schedule of so many steps, those that this sampler does itself (KSamplerAdvanced)."""
    inputs = inputs_of(graph.get(name))
    first = _told(graph, inputs.get("start_at_step"), MAX_STEPS)
    last = _told(graph, inputs.get("end_at_step"), MAX_STEPS) or steps
    return max(min(last, steps) - first, 0.0)


def _is_sampler(node: object) -> bool:
    """A node that denoises: a sampler by its class that takes a latent, or steps of a sampler."""
    inputs = inputs_of(node)
    kind = node.get("class_type") if isinstance(node, dict) else None
    if "steps" in inputs and "sampler_name" in inputs:
        return True
    named = isinstance(kind, str) and "sampler" in kind.lower()
    return named and ("latent_image" in inputs or "steps" in inputs)


def _upstream(graph: Graph, start: str, looks: _Looks) -> dict[str, float]:
    """The largest of each number at the nearest node up the links from `start` that has it.

    `zoom` and `copies` are what lies nearer than the size, and the batch, that they enlarge.
    """
    found: dict[str, float] = {}
    level, seen = [start], {start}
    for _ in range(MAX_DEPTH):
        looks.left -= len(level)
        if looks.left < 0 or not level:
            break
        inputs = [inputs_of(graph.get(node)) for node in level]
        repeated = [inputs_of(graph.get(node)) for node in level if _repeats(graph.get(node))]
        for field, whole, held in (("zoom", "width", inputs), ("copies", "batch", repeated)):
            if whole not in found:
                factor = _largest(graph, held, field) or 1.0
                found[field] = min(found.get(field, 1.0) * factor, MAX_BATCH)
        for field in FIELDS:
            if field not in found and (value := _largest(graph, inputs, field)):
                found[field] = value
        links = {link for node in level for link in _links(graph, node)}
        level = sorted(links - seen)
        seen |= links
    return found


def _repeats(node: object) -> bool:
    """RepeatLatentBatch, RepeatImageBatch: LatentCut's `amount` is none of copies."""
    return isinstance(node, dict) and str(node.get("class_type")).startswith("Repeat")


def _largest(graph: Graph, inputs: list[dict[str, object]], field: str) -> float:
    names, most = FIELDS.get(field) or FACTORS[field]
    told = [_told(graph, held.get(name), most) for held in inputs for name in names]
    if field in ("width", "height"):
        told += [_side(graph, held) for held in inputs]
    return max(told, default=0.0)


def _side(graph: Graph, inputs: dict[str, object]) -> float:
    """Of the square that a node scales an image to by its number of pixels."""
    return sqrt(_told(graph, inputs.get("megapixels"), MAX_MEGAPIXELS)) * 1024.0


def _told(graph: Graph, value: object, most: float) -> float:
    """A number, also one that a node of its own holds (PrimitiveInt's `value`)."""
    for _ in range(MAX_LINKED):
        if not (isinstance(value, list) and value):
            break
        value = inputs_of(graph.get(str(value[0]))).get("value")
    return number(value, most)


def _links(graph: Graph, name: str) -> list[str]:
    return [
        str(value[0])
        for value in inputs_of(graph.get(name)).values()
        if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph
    ]


def _widest(graph: Graph, name: str) -> float:
    return _largest(graph, [inputs_of(node) for node in graph.values()], name) or DEFAULT_SIZE


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
