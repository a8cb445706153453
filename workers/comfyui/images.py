"""The answer of ComfyUI's API wrapper turned into images that travel: data URLs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from workers.pyworker.back_end import ModelAnswerError

_TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
MAX_IMAGE_BYTES = 128 * 2**20


def with_images(answer: bytes) -> bytes:
    """`{"images": ["data:image/png;base64,…"]}` from `{"output": {"images": [{"local_path"}]}}`.

    Raises:
        ModelAnswerError: the workflow failed or made no images.
    """
    try:
        output = json.loads(answer)["output"]
        paths = [Path(image["local_path"]) for image in output["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelAnswerError("there was an error in the workflow") from error
    if not paths:
        raise ModelAnswerError("the workflow did not produce any images")
    return json.dumps({"images": [_data_url(path) for path in paths]}).encode()


def _data_url(path: Path) -> str:
    """A custom workflow chooses file names, so only image files are ever read."""
    kind = _TYPES.get(path.suffix.lower())
    try:
        if kind is None or not path.is_file() or path.stat().st_size > MAX_IMAGE_BYTES:
            raise ModelAnswerError("the workflow's output is not an image")
        data = path.read_bytes()
    except OSError as error:
        raise ModelAnswerError("the workflow's image cannot be read") from error
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
