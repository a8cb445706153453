"""What a real model server answered, kept as data: one JSON file a server and version."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import requests

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models"
MAX_BODY = 12_000
_KEPT_HEADERS = {"content-type", "retry-after", "x-request-id", "x-accel-buffering", "server"}


@dataclass
class Recording:
    """One server's answers by name; folders of this machine become `/models`."""

    server: str
    version: str
    command: str
    folders: tuple[Path, ...] = ()
    exchanges: dict[str, object] = field(default_factory=dict)
    log: dict[str, list[str]] = field(default_factory=dict)

    @staticmethod
    def of(server: str, version: str, folders: tuple[Path, ...]) -> Recording:
        """The record that there is."""
        record = json.loads((EVIDENCE / f"{server}-{version}.json").read_text())
        return Recording(
            server, version, record["command"], folders, record["exchanges"], record["log"]
        )

    def ask(
        self,
        name: str,
        method: str,
        url: str,
        body: object = None,
        **keywords: object,
    ) -> requests.Response:
        """Ask, and keep what was asked and answered."""
        path = url[url.index("/", 8) :]
        answer = requests.request(method, url, json=body, timeout=120, **keywords)  # type: ignore[arg-type]
        self.keep(name, f"{method} {path}", body, answer.status_code, dict(answer.headers), answer)
        return answer

    def keep(
        self,
        name: str,
        request: str,
        body: object,
        status: int,
        headers: dict[str, str],
        answer: requests.Response | str,
    ) -> None:
        """Keep one exchange; text bodies only, cut at MAX_BODY characters."""
        text = answer if isinstance(answer, str) else _text(answer)
        kept: dict[str, object] = {"request": request}
        if body is not None:
            kept["body"] = body
        kept |= {"status": status, "headers": _some(headers), "answer": self.plain(text)[:MAX_BODY]}
        self.exchanges[name] = kept

    def keep_log(self, name: str, lines: Iterable[str]) -> None:
        """Keep some lines of the server's log."""
        self.log[name] = [self.plain(line.rstrip("\n")) for line in lines]

    def plain(self, text: str) -> str:
        """Without this machine's folders."""
        for folder in self.folders:
            text = text.replace(str(folder), "/models")
        return re.sub(r"/(root|home/\w+)/[\w./-]*lib/python3\.\d+", "/python", text)

    def write(self) -> Path:
        """The file, sorted by name, so that two recordings can be compared."""
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        path = EVIDENCE / f"{self.server}-{self.version}.json"
        record = {
            "server": self.server,
            "version": self.version,
            "command": self.plain(self.command),
            "exchanges": self.exchanges,
            "log": self.log,
        }
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        return path


def _some(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() in _KEPT_HEADERS}


def _text(answer: requests.Response) -> str:
    kind = answer.headers.get("Content-Type", "")
    is_text = kind.startswith("text/") or "json" in kind or not kind
    return answer.text if is_text else f"({len(answer.content)} bytes)"
