"""Server-sent events out of a byte stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def event_data(chunks: Iterable[bytes]) -> Iterator[str]:
    """The `data` of each event, however the bytes were cut; what is no UTF-8 becomes U+FFFD.

    As browsers read it (WHATWG HTML, 9.2.5 and 9.2.6), a byte order mark in front included.
    """
    rest = b""
    is_first = True
    data: list[str] = []
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode(errors="replace")
            text = text.removeprefix("\ufeff") if is_first else text
            is_first = False
            if text.startswith("data:"):
                data.append(text.removeprefix("data:").removeprefix(" "))
            elif not text and data:
                yield "\n".join(data)
                data = []
    if rest.startswith(b"data:"):
        data.append(rest.decode(errors="replace").removeprefix("data:").strip())
    if data:
        yield "\n".join(data)
