"""Files in payloads: whose mistake a bad one is, and that two files stay two."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from fakes.comfyui_server import PIXEL, ComfyUIServer
from tests.workers.test_comfyui import node, picture, worker
from workers.openai.answers import is_clients_fault
from workers.pyworker.back_end import JsonObject, PayloadError
from workers.pyworker.model.forms import form_of


def url_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    "payload",
    [
        {"file": "data:audio/wav;base64,A"},  # a slip of one character
        {"file": "data:audio/wav;base64,@@@@"},  # was taken for an empty file
        {"file": "data:audio/wav;base64,é"},
        {"file": "data:audio/wav\r\nX-Header: of mine;base64,AAAA"},
        {"file": "data:audio/é;base64,AAAA"},
        {"file": ["data:audio/wav;base64,AAAA", "data:audio/wav;base64,A"]},
        {"na\r\nme": "v"},
        {"": "v"},
    ],
)
def test_a_file_that_is_none_is_named_as_the_callers_mistake(payload: JsonObject) -> None:
    """Each was a 500 or a 200, and an error in the worker's books."""
    with pytest.raises(PayloadError) as caught:
        form_of(payload)
    assert len(caught.value.fields) == 1


@pytest.mark.parametrize(
    "data_url",
    [
        url_of(b"abc"),
        "data:;base64,YWJj",
        "data:audio/webm;codecs=opus;base64,YWJj",  # of a browser's recorder
        'data:audio/mp4; codecs="mp4a.40.2", x;base64,YWJj',
        "data:wav;base64,YWJj",
        "data:image/svg+xml;charset=utf-8;base64,YW\r\nJj",  # in lines
    ],
)
def test_a_file_passes_as_its_bytes(data_url: str) -> None:
    ((_, _, content),) = form_of({"file": data_url})._fields
    assert content == b"abc"


async def test_two_images_of_one_graph_stay_two(tmp_path: Path) -> None:
    """Both were stored under one name: the first node worked on the second one's image."""
    comfy = ComfyUIServer()
    images = {
        "face.png": url_of(PIXEL),
        "mask.JPG": url_of(PIXEL + b"2", "image/jpeg"),
        "x": url_of(b"3"),
    }
    graph = picture(**{str(n): node("LoadImage", image=name) for n, name in enumerate(images, 5)})
    async with worker(tmp_path, comfy) as it:
        sent = {"workflow": graph, "images": images}
        assert (await it.post("/custom-workflow", payload=sent))[0] == 200
        loaded = [str(comfy.graphs[0][n]["inputs"]["image"]) for n in "567"]  # type: ignore[index]
    stored = [
        comfy.stored[(name.rpartition("/")[2], name.rpartition("/")[0], "input")] for name in loaded
    ]
    assert stored == [PIXEL, PIXEL + b"2", b"3"]
    assert [name.rpartition("/")[2] for name in loaded] == ["0.png", "1.jpg", "2"]


async def test_a_callers_bad_image_is_no_error_of_the_worker(tmp_path: Path) -> None:
    async with worker(tmp_path, ComfyUIServer()) as it:
        for _ in range(4):
            sent = {"workflow": picture(), "images": {"a.png": "data:image/png;base64,AAA"}}
            status, body = await it.post("/custom-workflow", payload=sent)
            assert (status, "'a.png': is no base64" in json.loads(body)["payload"]["images"]) == (
                422,
                True,
            )
        await it.until(lambda: it.counters()["n_refused"] == 4, "they are counted")
        assert it.counters()["n_errored"] == 0
        assert (await it.post("/custom-workflow", payload={"workflow": picture()}))[0] == 200


@pytest.mark.parametrize(
    ("words", "is_clients"),
    [
        ("image input is not supported - hint: you may need to provide the mmproj", True),
        ("CUDA error: operation not supported", False),
        ("the provided PTX was compiled with an unsupported toolchain.", False),
    ],
)
def test_what_a_gpu_does_not_support_is_no_callers_mistake(words: str, is_clients: bool) -> None:
    body = json.dumps({"error": {"message": words}}).encode()
    assert is_clients_fault(body) is is_clients
