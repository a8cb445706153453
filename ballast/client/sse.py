"""Server-sent events out of a byte stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def event_data(chunks: Iterable[bytes]) -> Iterator[str]:
    """The `data` of each event, however the bytes were cut."""
    rest = b""
    data: list[str] = []
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode()
            if text.startswith("data:"):
                data.append(text.removeprefix("data:").removeprefix(" "))
            elif not text and data:
                yield "\n".join(data)
                data = []
    if rest.startswith(b"data:"):
        data.append(rest.decode().removeprefix("data:").strip())
    if data:
        yield "\n".join(data)
