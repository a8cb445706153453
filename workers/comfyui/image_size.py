"""Size and frames of an uploaded image, from the heads of its parts: nothing is unpacked. Pure.

Formats: PNG 3 (ISO/IEC 15948: IHDR, acTL), JPEG (ITU-T T.81, B.2.2), WebP (RFC 9649), GIF89a.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from workers.comfyui.cost import MAX_BATCH, ImageSize

MAX_LOOKS, LEAST_LOOKS = 20_000, 16
"""Into all files of a request, and into each: milliseconds. What is beyond them was not seen."""
MAX_LINES = 2**20
"""Characters that are read of base64 that is written in lines."""


class _EndError(Exception):
    """The file, or what may be looked at of it, ends here."""


@dataclass(slots=True)
class _File:
    """A file that is read in places, out of its base64."""

    text: str
    n_looks_left: int

    def at(self, place: int, n_bytes: int) -> bytes:
        """So many bytes from there.

        Raises:
            _EndError: there are fewer.
            ValueError: it is no base64.
        """
        self.n_looks_left -= 1
        start, end = place // 3 * 4, -(-(place + n_bytes) // 3) * 4
        found = a2b_base64(self.text[start:end])[place % 3 : place % 3 + n_bytes]
        if len(found) < n_bytes or self.n_looks_left < 0:
            raise _EndError
        return found

    def number(self, place: int, n_bytes: int, *, is_little: bool = False) -> int:
        """A number at this place."""
        return int.from_bytes(self.at(place, n_bytes), "little" if is_little else "big")


def image_sizes(images: Mapping[str, str]) -> dict[str, ImageSize]:
    """Of images as data URLs, by name: those that tell their size."""
    most = max(MAX_LOOKS // max(len(images), 1), LEAST_LOOKS)
    known = {name: image_size(data, most) for name, data in images.items()}
    return {name: size for name, size in known.items() if size}


def image_size(data_url: str, most_looks: int = MAX_LOOKS) -> ImageSize | None:
    """What a data URL of a PNG, JPEG, WebP or GIF shows; None of anything else.

    Frames are those of an animation, as far as they were seen, at most MAX_BATCH: ComfyUI's
    LoadImage makes a batch of them.
    """
    text = data_url[data_url.find(",") + 1 :]
    if any(character.isspace() for character in text[:200]):
        text = "".join(text[:MAX_LINES].split())
    file = _File(text, most_looks)
    try:
        head = file.at(0, 16)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            size = _png(file)
        elif head.startswith(b"\xff\xd8"):
            size = _jpeg(file)
        elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            size = _webp(file)
        elif head.startswith((b"GIF87a", b"GIF89a")):
            size = _gif(file)
        else:
            return None
    except (_EndError, ValueError):
        return None
    return size if size.width and size.height else None


def _png(file: _File) -> ImageSize:
    width, height = file.number(16, 4), file.number(20, 4)
    n_frames, place = 1, 8
    with suppress(_EndError):  # its size is known, and no animation was seen
        while (kind := file.at(place + 4, 4)) != b"IDAT":
            if kind == b"acTL":
                n_frames = file.number(place + 8, 4)
                break
            place += 12 + file.number(place, 4)
    return _size(width, height, n_frames)


def _jpeg(file: _File) -> ImageSize:
    place = 2
    while True:
        head = file.at(place, 2)
        if head[0] != 0xFF:
            raise _EndError
        if head[1] == 0xFF:  # padding
            place += 1
        elif 0xC0 <= head[1] <= 0xCF and head[1] not in (0xC4, 0xC8, 0xCC):
            return _size(file.number(place + 7, 2), file.number(place + 5, 2), 1)
        elif head[1] == 0x01 or 0xD0 <= head[1] <= 0xD8:  # without a length
            place += 2
        else:
            place += 2 + file.number(place + 2, 2)


def _webp(file: _File) -> ImageSize:
    kind = file.at(12, 4)
    if kind == b"VP8X":
        width = file.number(24, 3, is_little=True) + 1
        height = file.number(27, 3, is_little=True) + 1
        is_animated = file.at(20, 1)[0] & 0x02
        return _size(width, height, _count(_webp_frames(file)) if is_animated else 1)
    if kind == b"VP8L":
        bits = file.number(21, 4, is_little=True)
        return _size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1)
    if kind != b"VP8 ":
        raise _EndError
    width, height = (file.number(place, 2, is_little=True) & 0x3FFF for place in (26, 28))
    return _size(width, height, 1)


def _webp_frames(file: _File) -> Iterator[None]:
    place = 12
    while True:
        if file.at(place, 4) == b"ANMF":
            yield
        n_bytes = file.number(place + 4, 4, is_little=True)
        place += 8 + n_bytes + n_bytes % 2


def _gif(file: _File) -> ImageSize:
    width, height = (file.number(place, 2, is_little=True) for place in (6, 8))
    return _size(width, height, _count(_gif_frames(file)))


def _gif_frames(file: _File) -> Iterator[None]:
    place = 13 + _colours(file.at(10, 1)[0])
    while (kind := file.at(place, 1)) != b";":
        if kind == b",":
            yield
            place += 11 + _colours(file.at(place + 9, 1)[0])
        elif kind == b"!":
            place += 2
        else:
            return
        while n_bytes := file.at(place, 1)[0]:
            place += 1 + n_bytes
        place += 1


def _colours(flags: int) -> int:
    """Bytes of the table of colours that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _count(frames: Iterator[None]) -> int:
    """As many as were seen."""
    n_frames = 0
    with suppress(_EndError):
        for _ in frames:
            n_frames += 1
    return n_frames


def _size(width: int, height: int, n_frames: int) -> ImageSize:
    return ImageSize(width, height, max(1, min(n_frames, int(MAX_BATCH))))
