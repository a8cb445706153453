"""Sizes of uploaded images, out of the heads of their files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from workers.comfyui.cost import ImageSize
from workers.comfyui.image_size import MAX_LOOKS, image_size, image_sizes

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models" / "pictures.json"
PICTURES: dict[str, Any] = json.loads(EVIDENCE.read_text())
URLS: dict[str, str] = PICTURES["pictures"]


def url(data: bytes) -> str:
    return "data:image/x;base64," + base64.b64encode(data).decode()


def file_of(name: str) -> bytes:
    return base64.b64decode(URLS[name].partition(",")[2])


@pytest.mark.parametrize("name", sorted(URLS))
def test_a_picture_tells_its_size_and_frames(name: str) -> None:
    """Files of Pillow, loaded by real ComfyUI as the same (`tests/models/test_real_comfyui.py`)."""
    assert image_size(URLS[name]) == ImageSize(*PICTURES["sizes"][name])
    head, _, text = URLS[name].partition(",")
    lines = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    assert image_size(f"{head},\n{lines}") == ImageSize(*PICTURES["sizes"][name])


def test_a_photograph_has_its_size_behind_all_that_a_camera_writes() -> None:
    jpeg = file_of("jpeg")
    segment = b"\xff\xe1" + (60_000).to_bytes(2, "big") + b"x" * 59_998
    assert image_size(url(jpeg[:2] + segment * 20 + jpeg[2:])) == ImageSize(96, 160)


@pytest.mark.parametrize("name", sorted(URLS))
def test_what_is_cut_or_broken_has_no_size_or_one_that_was_read(name: str) -> None:
    data = file_of(name)
    for cut in range(0, min(len(data), 400), 7):
        size = image_size(url(data[:cut]))
        assert size is None or 1 <= size.n_frames <= PICTURES["sizes"][name][2]
    for text in ("data:,", "data:;base64,", "data:image/png;base64,%%%%" * 20, "x"):
        assert image_size(text) is None
    for at in range(2, min(len(data), 64)):
        size = image_size(url(data[:at] + b"\xff" + data[at + 1 :]))
        assert size is None or 1 <= size.n_frames <= 4096


def test_the_looks_into_the_files_of_a_request_are_bounded() -> None:
    """A film of two million frames, and a thousand of them."""
    film = b"GIF89a\1\0\1\0\0\0\0" + b",\0\0\0\0\1\0\1\0\0\2\1a\0" * MAX_LOOKS
    counted = image_size(url(film))
    assert counted is not None
    assert 1_000 < counted.n_frames <= 4096
    many = image_sizes({str(n): url(film[:400]) for n in range(5_000)})
    assert {size.n_frames for size in many.values()} == {3}
    assert set(image_sizes({"a": URLS["png"], "b": url(b"no picture at all")})) == {"a"}
