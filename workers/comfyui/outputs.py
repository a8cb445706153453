"""What a graph made, as data URLs that travel in an answer."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import urlencode

import aiohttp

JsonObject = dict[str, object]

MAX_OUTPUT_BYTES = 256 * 2**20
"""Of one answer: videos are larger, and belong into a store of the caller's."""


def files_of(row: JsonObject) -> list[dict[str, str]]:
    """The files in a row of ComfyUI's history; previews only where nothing was saved."""
    files = list(_files(row))
    saved = [file for file in files if file.get("type") == "output"]
    return saved or files


def _files(row: JsonObject) -> Iterator[dict[str, str]]:
    """Every list of `{filename, subfolder, type}`: images, gifs, audio, video, whatever its key."""
    outputs = row.get("outputs")
    for output in outputs.values() if isinstance(outputs, dict) else ():
        for listed in output.values() if isinstance(output, dict) else ():
            for file in listed if isinstance(listed, list) else ():
                if isinstance(file, dict) and isinstance(file.get("filename"), str):
                    yield {
                        "filename": file["filename"],
                        "subfolder": str(file.get("subfolder") or ""),
                        "type": str(file.get("type") or "output"),
                    }


def texts_of(row: JsonObject) -> list[str]:
    """Texts that nodes show (`{"text": ["…"]}`)."""
    outputs = row.get("outputs")
    rows = outputs.values() if isinstance(outputs, dict) else ()
    texts = [output.get("text") for output in rows if isinstance(output, dict)]
    return [text for found in texts if isinstance(found, list) for text in map(str, found)]


async def fetched(
    http: aiohttp.ClientSession, url: str, files: list[dict[str, str]]
) -> dict[str, list[str]]:
    """Data URLs by kind: `images`, `videos`, `audio`, `files`.

    Raises:
        ValueError: they are too large together, or one is gone.
        aiohttp.ClientError: ComfyUI is gone.
    """
    found: dict[str, list[str]] = {}
    left = MAX_OUTPUT_BYTES
    for file in files:
        async with http.get(f"{url}/view?{urlencode(file)}") as answer:
            if answer.status >= 500:
                raise aiohttp.ClientPayloadError(f"/view answered {answer.status}")
            if answer.status != 200:
                raise ValueError(f"{file['filename']} cannot be read ({answer.status})")
            data = await answer.content.read(left + 1)
            while len(data) <= left and (more := await answer.content.read(left + 1 - len(data))):
                data += more
            left -= len(data)
            if left < 0:
                raise ValueError(f"the outputs are larger than {MAX_OUTPUT_BYTES >> 20} MB")
            kind = answer.content_type
        name = {"image": "images", "video": "videos", "audio": "audio"}.get(kind.split("/")[0])
        encoded = base64.b64encode(data).decode()
        found.setdefault(name or "files", []).append(f"data:{kind};base64,{encoded}")
    return found
