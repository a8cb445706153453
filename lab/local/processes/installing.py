"""`python -m lab.local.processes.installing WHAT PIP-ARGUMENTS…`: pip with one line of progress.

Pip alone is either silent for minutes or prints hundreds of lines. What it said is shown only if it
failed. Needs nothing but the standard library: it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence

EVERY_S = 10.0  # between two lines where a line cannot be written over
_COLLECTING = re.compile(r"\s*(?:Collecting|Requirement already satisfied:) ([\w.-]+)")
_DOWNLOADING = re.compile(r"\s*Downloading ([\w.]+?)-\d\S* \(([\d.]+ [kMG]B)\)")
_INSTALLING = re.compile(r"Installing collected packages: (.*)")


def steps(lines: Iterable[str]) -> Iterator[str]:
    """What to tell, for each of pip's lines that says something new."""
    found: set[str] = set()
    for line in lines:
        if installing := _INSTALLING.match(line):
            yield f"installing {_packages(installing[1].split(', '))}"
        elif downloading := _DOWNLOADING.match(line):
            yield f"{_packages(found)} found; downloading {downloading[1]}, {downloading[2]}"
        elif (collecting := _COLLECTING.match(line)) and collecting[1].lower() not in found:
            found.add(collecting[1].lower())
            yield f"{_packages(found)} found"


def _packages(names: Collection[str]) -> str:
    return f"{len(names)} package" + ("" if len(names) == 1 else "s")


def install(what: str, arguments: Sequence[str]) -> int:
    """Run `pip install` with these arguments; gives its exit status."""
    print(f"• installing {what}, once", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # a line when it is said, not 4 kB later
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    said: list[str] = []
    progress = _Progress()
    for text in steps(_kept(process.stdout or (), said)):
        progress.text = text
    code = process.wait()
    progress.end()
    if code:
        print("".join(said), file=sys.stderr)
        print(f"error: {what} could not be installed; pip's words are above", file=sys.stderr)
    return code


def _kept(lines: Iterable[str], said: list[str]) -> Iterator[str]:
    for line in lines:
        said.append(line)
        yield line


class _Progress:
    """One line that changes at a terminal; elsewhere a line every EVERY_S seconds.

    It goes on while pip says nothing: unpacking 150 packages takes a minute or more.
    """

    def __init__(self) -> None:
        self.text = "looking for packages"
        self._is_terminal = sys.stdout.isatty()
        self._began = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def _show(self) -> None:
        start, end = ("\r\033[K", "") if self._is_terminal else ("", "\n")
        while not self._is_over.wait(0.5 if self._is_terminal else EVERY_S):
            line = f"  {time.monotonic() - self._began:4.0f} s  {self.text}"
            print(f"{start}{line[:100]}", end=end, flush=True)

    def end(self) -> None:
        """Say how long it took."""
        self._is_over.set()
        self._thread.join()
        start = "\r\033[K" if self._is_terminal else ""
        print(f"{start}  done in {time.monotonic() - self._began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(install(sys.argv[1], sys.argv[2:]))
