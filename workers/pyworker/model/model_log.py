"""Following the model server's log without blocking, through truncation and replacement."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from workers.pyworker.back_end import LogMarkers

logger = logging.getLogger(__name__)

POLL_S = 0.5
MAX_READ = 1 << 20
MAX_TOLD = 300
_PREFIX = re.compile(
    r"(?:\x1b\[[0-9;]*m)*"
    r"(?:\[\d\d\d\d-\d\d-\d\d[ T][\d:.,]+(?: [A-Z]+\d+)*\]\s*)?"  # SGLang's time and rank
    r"(?:\([\w:. ]*pid=\d+\)\s*)?"  # vLLM's processes
    r"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):?\s+)?"
    r"(?:\d\d(?:\d\d)?-\d\d(?:-\d\d)?[ T][\d:.,]+Z?\s+)?"
    r"(?:\[[\w.]+:\d+\]\s*)?"
    r"(?:[\w.]*(?:Error|Exception): )?"
)
"""What loggers put before the text; a marker begins right after it."""
_CAUSE = re.compile(r"(?:Error|Exception|error): \S")
"""Without the name before it: looking for one at each place of a long word takes its square."""
_NAME_OF_CAUSE = re.compile(r"[\w.]{0,200}\Z")
MAX_LOOKED_AT = 1 << 13
"""Characters of one line; a longer one is data."""
LINES_AT_ONCE = 500


class Sign(StrEnum):
    """What a line of the log tells."""

    LOADED = "loaded"
    ERROR = "error"
    INFO = "info"


def sign_of(line: str, markers: LogMarkers) -> tuple[Sign, str] | None:
    """The sign in a line and the marker that gave it.

    A marker counts where the server prints it: at the beginning of the text, or inside a line that
    is JSON. What clients write stands elsewhere.
    """
    prefix = _PREFIX.match(line)
    starts = {0, prefix.end() if prefix else 0}
    is_json = line.startswith("{")
    for sign, texts in (
        (Sign.ERROR, markers.error),
        (Sign.LOADED, markers.loaded),
        (Sign.INFO, markers.info),
    ):
        for text in texts:
            if any(line.startswith(text, at) for at in starts) or (is_json and text in line):
                return sign, text
    return None


def cause_in(lines: list[str]) -> str:
    """The line that names why a model server did not start: the first error after the last start.

    Python prints the cause before what it led to, and vLLM ends with "See root cause above".
    """
    causes = [text_of(line) for line in map(shown, lines) if _CAUSE.search(line)]
    telling = [text for text in causes if "root cause above" not in text]
    return (telling or causes or [""])[-1][:MAX_TOLD]


def shown(line: str) -> str:
    """What a terminal shows of a line in the end: progress bars write over themselves."""
    return line.rstrip("\r").rpartition("\r")[2][:MAX_LOOKED_AT]


def text_of(line: str) -> str:
    """A line without its logger's prefix, its class of error kept."""
    match = _PREFIX.match(line)
    text = line[match.end() :] if match else line
    cut = _CAUSE.search(line)
    if cut and match and cut.start() < match.end():
        name = _NAME_OF_CAUSE.search(line, 0, cut.start())
        text = line[name.start() if name else cut.start() :]
    return " ".join(text.split())


@dataclass(slots=True)
class LogTail:
    """Reads what was added since the last read; a shorter or replaced file is read anew.

    `is_private`: clients were served while this file was written, so it may quote them.
    """

    path: Path
    offset: int = 0  # up to where it was read
    n_starts: int = 0  # how often a new file was begun
    is_private: bool = False
    _served: tuple[int, int] = (0, 0)  # inode and size of the file in which clients were served
    _inode: int = 0
    _rest: bytes = b""
    _problem: str = ""

    def mark_served(self) -> None:
        """Clients are served from now on: the file as it lies there, read or not, is private."""
        try:
            stat = self.path.stat()
        except OSError:
            self.mark_read()
        else:
            self._served = (stat.st_ino, stat.st_size)
            self.is_private = True

    def mark_read(self) -> None:
        """Clients were served while the file was written that was read last."""
        self._served = (self._inode, self.offset)
        self.is_private = True

    def skip_to_end(self) -> None:
        """Read what is added from now on; it is begun anew where it is replaced."""
        try:
            with self.path.open("rb") as file:
                self.offset = max(file.seek(0, 2), 0)
                self._inode = self.path.stat().st_ino
        except OSError:
            return

    def read_lines(self) -> list[str]:
        """The complete lines added since the last call; none while it cannot be read."""
        try:
            with self.path.open("rb") as file:
                stat = self.path.stat()
                if stat.st_ino != self._inode or stat.st_size < self.offset:
                    self._inode, self.offset, self._rest = stat.st_ino, 0, b""
                    self.n_starts += 1
                    inode, size = self._served
                    self.is_private &= stat.st_ino == inode and stat.st_size >= size
                file.seek(self.offset)
                data = file.read(MAX_READ)
        except FileNotFoundError:
            return []
        except OSError as error:  # a folder, no permission, a broken disk: no reason to end
            if self._problem != str(error.strerror):
                self._problem = str(error.strerror)
                logger.warning("the model's log cannot be read", extra={"reason": self._problem})
            return []
        self.offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MAX_READ:]
        return [line.decode(errors="replace") for line in lines]


async def follow_lines(tail: LogTail) -> AsyncIterator[str]:
    """The log's lines from where it was read to, for ever."""
    while True:
        lines = await asyncio.to_thread(tail.read_lines)
        for number, line in enumerate(lines):
            if number % LINES_AT_ONCE == LINES_AT_ONCE - 1:
                await asyncio.sleep(0)  # a megabyte of short ones is a second of the loop
            yield line
        if not lines:
            await asyncio.sleep(POLL_S)
