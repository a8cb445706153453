"""What a graph for ComfyUI costs: each sampler, by the numbers that it works with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workers.test_comfyui import node
from workers.comfyui.cost import FACTORS, FIELDS, ImageSize, graph_workload, image_workload
from workers.comfyui.server import make_back_end

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models"
REAL: dict[str, Any] = json.loads((EVIDENCE / "comfyui-0.3.64.json").read_text())["exchanges"]
PICTURES: dict[str, Any] = json.loads((EVIDENCE / "pictures.json").read_text())


def sampled(**latent: object) -> dict[str, object]:
    """A graph whose sampler works on this latent."""
    return {
        "latent": node("EmptyLatentImage", **latent),
        "scheduler": node("BasicScheduler", steps=latent.get("steps", 28)),
        "sampler": node("SamplerCustom", latent_image=["latent", 0], sigmas=["scheduler", 0]),
        "save": node("SaveImage", images=["sampler", 0], filename_prefix="x"),
    }


IMAGE_4600 = image_workload("flux", 1024, 1024, 28)


@pytest.mark.parametrize(
    ("graph", "n_images"),
    [
        (sampled(width=1024, height=1024, batch_size=1), 1),
        (sampled(width=1024, height=1024, batch_size=64), 64),
        (sampled(width="1024", height="1024", batch_size="2"), 2),  # ComfyUI takes text for INT
        (sampled(width=1024, height=1024, length=81, batch_size=1), 81),  # frames of a video
        (sampled(width=True, height=True, batch_size=True), 1),  # no numbers: the usual size
        (
            sampled(width=1024, height=1024)
            | {
                f"again{n}": node("KSampler", latent_image=["latent", 0], steps=28)
                for n in range(3)
            },
            4,
        ),
        # Numbers that nodes of their own hold, and what enlarges the latent on its way.
        (
            sampled(width=["w", 0], height=1024, steps=["s", 0])
            | {"w": node("PrimitiveInt", value=1024), "s": node("PrimitiveInt", value="28")},
            1,
        ),
        (
            sampled(width=1024, height=1024, batch_size=2)
            | {
                "copies": node("RepeatLatentBatch", samples=["latent", 0], amount=3),
                "sampler": node("KSampler", latent_image=["copies", 0], steps=28),
            },
            6,
        ),
        (
            sampled(width=512, height=512)
            | {
                "larger": node("LatentUpscaleBy", samples=["latent", 0], scale_by=2),
                "sampler": node("KSampler", latent_image=["larger", 0], steps=28),
            },
            1,
        ),
        # SDXL's base and refiner share one schedule.
        (
            sampled(width=1024, height=1024)
            | {
                "sampler": node(
                    "KSamplerAdvanced",
                    latent_image=["latent", 0],
                    steps=56,
                    start_at_step="28",
                    end_at_step=10_000,
                ),
            },
            1,
        ),
        (  # of a node pack: its class does not say that it samples
            sampled(width=1024, height=1024)
            | {"face": node("FaceDetailer", image=["sampler", 0], steps=28, sampler_name="euler")},
            2,
        ),
    ],
)
def test_a_graph_costs_what_each_of_its_samplers_does(
    graph: dict[str, object], n_images: int
) -> None:
    assert graph_workload("flux", graph) == pytest.approx(n_images * IMAGE_4600)
    all_known = [name for name in graph if name != "save"]
    assert graph_workload("flux", graph, all_known) == 0


@pytest.mark.parametrize(
    ("megapixels", "side"),
    [(1, 1024), ("4.0", 2048), (["number", 0], 2048), (10**9, 4096), (0, 1024)],
)
def test_an_image_that_is_scaled_to_so_many_pixels_costs_them(
    megapixels: object, side: int
) -> None:
    """As ComfyUI's own templates edit: sixteen megapixels were priced as one."""
    graph = {
        "mine": node("LoadImage", image="mine.png"),
        "number": node("PrimitiveFloat", value=4.0),
        "scaled": node("ImageScaleToTotalPixels", image=["mine", 0], megapixels=megapixels),
        "size": node("GetImageSize", image=["scaled", 0]),
        "encoded": node("VAEEncode", pixels=["scaled", 0]),
        "empty": node("EmptyFlux2LatentImage", width=["size", 0], height=["size", 1]),
    }
    for latent in ("encoded", "empty"):
        sampler = node("KSampler", latent_image=[latent, 0], steps=28)
        cost = graph_workload("flux", graph | {"sampler": sampler})
        assert cost == pytest.approx(image_workload("flux", side, side, 28))


def edited(image: str, **scaled: object) -> dict[str, object]:
    """A graph that starts from an uploaded image, by ComfyUI's own nodes (`inputs`)."""
    pixels = "scaled" if scaled else "mine"
    return {
        "mine": node("LoadImage", image=image),
        "scaled": node("ImageScaleBy", image=["mine", 0], **scaled),
        "encoded": node("VAEEncode", pixels=[pixels, 0], vae=["model", 2]),
        "sampler": node("KSampler", latent_image=["encoded", 0], steps=28),
    }


UPLOADS = {"mine.png": ImageSize(2048, 3072), "film.gif": ImageSize(512, 512, n_frames=24)}


@pytest.mark.parametrize(
    ("graph", "size"),
    [
        (edited("mine.png"), (2048, 3072, 1)),
        (edited("film.gif"), (512, 512, 24)),
        (edited("mine.png", scale_by=2), (4096, 6144, 1)),
        (edited("lies there already.png"), (1024, 1024, 1)),
        (  # what the sampler works on is the empty latent; the picture is a hint
            sampled(width=1024, height=1024)
            | {
                "mine": node("LoadImage", image="mine.png"),
                "hint": node("ControlNetApply", image=["mine", 0], conditioning=["text", 0]),
                "sampler": node(
                    "KSampler", latent_image=["latent", 0], positive=["hint", 0], steps=28
                ),
            },
            (1024, 1024, 1),
        ),
        (  # a node of others that says to what it loads it
            edited("mine.png") | {"mine": node("Load", image="mine.png", width=512, height=512)},
            (512, 512, 1),
        ),
        (edited("bomb"), (16_384, 16_384, 1)),
    ],
)
def test_an_uploaded_image_costs_its_own_size(
    graph: dict[str, object], size: tuple[int, int, int]
) -> None:
    """Six megapixels were priced as one, and an animation as one image."""
    uploads = UPLOADS | {"bomb": ImageSize(2**31, 2**31)}
    width, height, n_images = size
    cost = graph_workload("flux", graph, uploads=uploads)
    assert cost == pytest.approx(image_workload("flux", width, height, 28) * n_images)


def test_the_price_of_a_request_knows_its_images() -> None:
    route = make_back_end("flux").route("/custom-workflow")
    for name, (width, height, n_frames) in PICTURES["sizes"].items():
        payload: dict[str, object] = {"workflow": edited("x")}
        payload |= {"images": {"x": PICTURES["pictures"][name]}}
        told = image_workload("flux", width, height, 28) * n_frames
        assert route.workload(payload) == pytest.approx(told), name


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"1": None, "2": [], "3": {"class_type": 5}},
        {"a": node("KSampler", latent_image=["b", 0]), "b": node("X", a=["a", 0])},  # a ring
        sampled(width="9" * 400, height=1e308, batch_size=-1),
        sampled(width=["a", 0]) | {"a": node("X", value=["a", 0])},
        sampled(width=["gone", 0], height=[["x"]], batch_size=[], steps=[[], {}]),
        sampled(steps={"value": 5})
        | {"latent": node("EmptyLatentImage", width="nan", height="inf")},
        sampled(width=float("inf"), height=10**400, batch_size=10**9, length=10**9),
    ],
)
def test_any_graph_has_a_finite_cost(graph: dict[str, object]) -> None:
    assert 0 <= graph_workload("flux", graph) <= 1e9


def test_the_numbers_that_are_priced_are_called_so_in_comfyui() -> None:
    kinds = json.loads(REAL["inputs"]["answer"])
    names = {name for inputs in kinds.values() for name in inputs}
    priced = {name for known, _ in (*FIELDS.values(), *FACTORS.values()) for name in known}
    assert priced - names == {"num_frames"}
    assert {
        kind for kind in kinds if "amount" in kinds[kind] and not kind.startswith("Repeat")
    } == {
        "LatentCut"  # whose amount is none of copies
    }


def test_a_graph_of_thousands_of_samplers_is_priced_in_few_looks() -> None:
    """Each of 3,000 looked at 3,000 nodes, five times: half a minute in which nobody was served."""
    graph: dict[str, object] = {
        f"s{n}": node("KSampler", latent_image=["hub", 0]) for n in range(3_000)
    }
    graph["hub"] = node("Hub", **{f"i{n}": [f"s{n}", 0] for n in range(3_000)})
    counted = _Counted(graph)
    assert 0 < graph_workload("flux", counted) <= 1e9
    assert counted.n_looks < 1_000_000


class _Counted(dict[str, object]):
    """Counts how often a node is asked for."""

    n_looks = 0

    def get(self, key: str, default: object = None) -> object:
        self.n_looks += 1
        return super().get(key, default)
