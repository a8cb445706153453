"""The vendor's command, unmodified, in a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

VASTAI = Path(sys.executable).parent / "vastai"
TIMEOUT_S = 180.0


class VendorCli:
    """`vastai --url URL …` with a key."""

    def __init__(self, url: str, key: str, home: Path) -> None:
        self._url = url
        self._env = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "PATH": os.environ["PATH"],
            "VAST_API_KEY": key,
            "VASTAI_NO_UPDATE_CHECK": "1",
            "VAST_URL": "http://127.0.0.1:9",  # nothing is asked elsewhere: nobody listens there
            "COLUMNS": "250",
        }

    def run(self, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
        """What it prints, on either stream; it never crashes."""
        done = subprocess.run(
            [str(VASTAI), "--url", self._url, *arguments],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_s,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done.stdout or done.stderr

    def raw(self, *arguments: str) -> Any:
        """The JSON that it prints with --raw."""
        return json.loads(self.run(*arguments, "--raw"))
