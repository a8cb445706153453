"""What was sent and answered, made anonymous: a file for tests/evidence/vast."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

KEPT_TEXTS = frozenset(
    {"actual_status", "cur_state", "next_state", "intended_status", "gpu_name", "gpu_arch",
     "cpu_arch", "verification", "error", "code", "resource_type", "os_version", "runtype",
     "image_runtype", "HostIp"}
)  # fmt: skip
"""Members whose text says nothing about anybody; every other text is replaced."""
_NUMBERS_OF_SOMEBODY = re.compile(r"(^|_)ids?$|_port$|port_(start|end)$|^HostPort$|geolocode|rn$")
_KEPT_HEADERS = frozenset({"retry-after", "content-type"})
_HEADER_PREFIX = "x-ratelimit"
_PHRASES = re.compile(
    r"error [0-9]{3}/[0-9]{1,5}|no_such_ask|no_such_instance|too frequent|threshold=[0-9.*]{1,12}"
    r"|not available|no longer available|invalid args|insufficient[_ ]credit|not authorized"
    r"|Invalid user key|currently unavailable|state change queued|not found|success",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Recorder:
    """Keeps each answer without anything that could name a person, machine, account or key."""

    date: str  # of the contact, "2026-11-29"
    records: list[dict[str, Any]] = field(default_factory=list)

    def keep(
        self, call: str, status: int, headers: Mapping[str, str], text: str, means: str, **more: Any
    ) -> None:
        """Add one answer."""
        sent = {k.lower(): v for k, v in headers.items()}
        self.records.append(
            {
                "id": f"probe-{self.date}-{len(self.records):03d}",
                "call": call,
                "request": None,
                "status": status,
                "headers": {
                    name: value
                    for name, value in sent.items()
                    if (name in _KEPT_HEADERS or name.startswith(_HEADER_PREFIX))
                    and re.fullmatch(r"[\w/;=. -]{1,60}", value)
                },
                "body": _anonymous_body(text),
                "kind": "probe",
                "means": means,
                **more,
                "source": {"repository": "a first contact", "path": "probe", "date": self.date},
            }
        )

    def to_json(self) -> str:
        """The file, one record a line."""
        lines = ",\n".join(json.dumps(record) for record in self.records)
        return f"[\n{lines}\n]\n"


def _anonymous_body(text: str) -> object:
    try:
        return anonymous(json.loads(text), "")
    except (ValueError, RecursionError):
        return _phrases_of(text)


def anonymous(value: object, name: str) -> object:
    """A JSON value of the same shape, with every id, number of somebody and free text replaced."""
    if isinstance(value, dict):
        return {
            _plain_key(str(key), place): anonymous(inner, str(key))
            for place, (key, inner) in enumerate(value.items())
        }
    if isinstance(value, list):
        return [anonymous(item, name) for item in value]
    if isinstance(value, str):
        return _anonymous_text(value, name)
    is_anybodys = isinstance(value, bool) or value is None
    return value if is_anybodys or not _NUMBERS_OF_SOMEBODY.search(name) else 1


def _anonymous_text(value: str, name: str) -> str:
    if name == "HostPort":
        return "40001"
    if name == "HostIp":
        return "0.0.0.0"  # noqa: S104  a value of the record
    if name in KEPT_TEXTS and re.fullmatch(r"[\w ./-]{0,40}", value):
        return value if not re.search(r"[0-9a-f]{16}|[0-9]{6}|[0-9]+\.[0-9]+\.", value) else "x"
    return _phrases_of(value)


def _plain_key(key: str, place: int) -> str:
    """A member's name; names that are themselves values (labels, variables) are numbered."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}|[0-9]{1,5}/(tcp|udp)", key):
        return key if not re.search(r"[0-9a-f]{12}|[0-9]{6}", key) else f"member_{place}"
    return f"member_{place}"


def _phrases_of(text: str) -> str:
    """Only the words that a refusal is judged by; nothing of the rest."""
    return " ".join(dict.fromkeys(found.group() for found in _PHRASES.finditer(text)))


def call_of(method: str, url: str) -> str:
    """The name of a call by its path, as records name it."""
    path = urlsplit(url).path
    for part, call in (
        ("/bundles", "search"), ("/asks/", "create"), ("/template", "template"),
        ("/bid_price", "bid"), ("/users/current", "credit"), ("/request_logs", "logs"),
        ("/api/v1/instances", "list"),
    ):  # fmt: skip
        if part in path:
            return call
    return {"GET": "show", "DELETE": "destroy"}.get(method, "state")
