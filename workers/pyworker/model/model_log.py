"""Following the model server's log without blocking, through truncation and replacement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from workers.pyworker.back_end import LogMarkers

POLL_S = 0.5
MAX_READ = 1 << 20


class Sign(StrEnum):
    """What a line of the log tells."""

    LOADED = "loaded"
    ERROR = "error"
    INFO = "info"


def sign_of(line: str, markers: LogMarkers) -> tuple[Sign, str] | None:
    """The sign in a line and the marker that gave it; the line itself may hold prompts."""
    for sign, texts in (
        (Sign.ERROR, markers.error),
        (Sign.LOADED, markers.loaded),
        (Sign.INFO, markers.info),
    ):
        for text in texts:
            if text in line:
                return sign, text
    return None


@dataclass(slots=True)
class LogTail:
    """Reads what was added since the last read; a shorter or replaced file is read anew."""

    path: Path
    _inode: int = 0
    _offset: int = 0
    _rest: bytes = b""

    def read_lines(self) -> list[str]:
        """The complete lines added since the last call; none while there is no file."""
        try:
            with self.path.open("rb") as file:
                stat = self.path.stat()
                if stat.st_ino != self._inode or stat.st_size < self._offset:
                    self._inode, self._offset, self._rest = stat.st_ino, 0, b""
                file.seek(self._offset)
                data = file.read(MAX_READ)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MAX_READ:]
        return [line.decode(errors="replace") for line in lines]


async def follow_signs(path: Path, markers: LogMarkers) -> AsyncIterator[tuple[Sign, str]]:
    """The signs in the log from its beginning on, for ever."""
    tail = LogTail(path)
    while True:
        lines = await asyncio.to_thread(tail.read_lines)
        for line in lines:
            if found := sign_of(line, markers):
                yield found
        if not lines:
            await asyncio.sleep(POLL_S)
