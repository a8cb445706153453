"""Reports: what workers of every generation say on `/worker_status/` and `/delete_requests/`.

The same field means different things in different generations (protocol.md C.1, C.2): this module
is the only one that knows. Every field but the id is optional, since start scripts and generation-0
workers send a few fields only. Numbers must be finite and within bounds: ours are, and a report of
D with another is refused. Workers of the vendor's count what a client wrote (a session's cost is
signed in no ticket of C: vastai 1.9.1, serverless/server/lib/backend.py), and Python writes what
comes of it as Infinity or NaN: of such a number they say nothing, and of all else what they say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from chalicelib.wire.json_body import WireError, optional_number, parse_json_object, whole_of_text
from chalicelib.wire.ticket import MAX_EXACT_INT

MAX_REPORT_BYTES = 262_144
MAX_NUMBER = 10**15
MAX_ERROR_CHARS = 500
CONTENT_HASH_CHARS = 10
"""Only told apart from the report before it, and a worker's row is to stay below 1 kB."""
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", re.ASCII)
_HEX = re.compile(r"[0-9a-f]*")
_PHASE = re.compile(r"[a-z][a-z -]{0,19}", re.ASCII)
MAX_PHASES = 8
MAX_PHASE_S = 1e6
MAX_SESSION_KEYS = 50
"""Of one report; a worker with more tells the others in its next ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerReport:
    """One report in neutral terms; None = the report says nothing about it.

    Loads are in the worker's own unit; `generation` is "A" to "D", None for partial reports.
    """

    worker_id: int
    token: str
    content_hash: str
    generation: str | None = None
    version: str = ""
    error: str | None = None
    perf: float | None = None
    load_time_s: float | None = None
    n_working: int | None = None
    slots: int | None = None  # requests served at once
    n_received: int | None = None  # cumulative since the process started
    n_served: int | None = None  # of those, answered without an error (D)
    n_errored: int | None = None  # of those, failed at the model server (D)
    n_cancelled: int | None = None  # of those, left by their client (D)
    n_rejected: int | None = None  # of those, turned away (D)
    n_refused: int | None = None  # of those, refused by the model server: clients' mistakes (D)
    working_load: float | None = None  # in flight now (B, C, D)
    arrival_rate: float | None = None  # load per second since the last report (A)
    arrived_load: float | None = None  # since the last report (B, C)
    served_load: float | None = None  # since the last report (B, C)
    rejected_load: float | None = None  # since the last report (B, C)
    received_total: float | None = None  # cumulative since boot (D)
    finished_total: float | None = None
    rejected_total: float | None = None
    prompt_tokens: float | None = None  # of prompts lately (D); None: it does not tell of caches
    hit_share: float | None = None  # of those, found in the model server's cache
    spared_share: float | None = None  # of the load lately, what reading those again would cost
    boot_id: str = ""
    seq: int = 0
    url: str = ""
    disk_usage_gb: float | None = None
    certificate_sha256: str = ""
    load_phases: tuple[tuple[str, float], ...] = ()  # seconds of each part of the newest start (D)
    session_keys: tuple[str, ...] = ()  # names of the keys whose sessions are open (D)

    @staticmethod
    def from_json(body: bytes | str) -> WorkerReport:
        """The report in a request's body.

        Raises:
            WireError: not a JSON object, no usable id, or a number out of bounds.
        """
        fields = parse_json_object(body, max_bytes=MAX_REPORT_BYTES, tolerant=True)
        raw = body.encode() if isinstance(body, str) else body
        generation = _generation(fields)
        if generation in ("A", "B", "C"):
            fields = {name: v for name, v in fields.items() if not _is_beyond(v)}
        is_stock = generation in ("B", "C", "D")
        is_delta = generation in ("B", "C")
        return WorkerReport(
            worker_id=_worker_id(fields, "id"),
            token=_text(fields, "mtoken", 200),
            content_hash=hashlib.sha256(raw).hexdigest()[:CONTENT_HASH_CHARS],
            generation=generation,
            version=_text(fields, "version", 32),
            error=_error(fields),
            perf=_number(fields, "max_perf"),
            load_time_s=_number(fields, "loadtime"),
            n_working=_count(fields, "num_requests_working"),
            slots=_count(fields, "slots"),
            n_received=_count(fields, "num_requests_recieved"),
            n_served=_count(fields, "n_served"),
            n_errored=_count(fields, "n_errored"),
            n_cancelled=_count(fields, "n_cancelled"),
            n_rejected=_count(fields, "n_rejected"),
            n_refused=_count(fields, "n_refused"),
            working_load=_number(fields, "cur_load") if is_stock else None,
            arrival_rate=None if is_stock else _number(fields, "cur_load"),
            arrived_load=_number(fields, "new_load") if is_delta else None,
            served_load=_number(fields, "cur_perf") if is_delta else None,
            rejected_load=_number(fields, "rej_load") if is_delta else None,
            received_total=_number(fields, "received_load"),
            finished_total=_number(fields, "finished_load"),
            rejected_total=_number(fields, "rejected_load"),
            prompt_tokens=_number(fields, "prompt_tokens"),
            hit_share=_number(fields, "cache_hit_share"),
            spared_share=_number(fields, "cache_spared_share"),
            boot_id=_hex(fields, "boot_id", 16),
            seq=_count(fields, "seq") or 0,
            url=_text(fields, "url", 300),
            disk_usage_gb=_number(fields, "disk_usage"),
            certificate_sha256=_hex(fields, "certificate_sha256", 64),
            load_phases=_phases(fields.get("load_phases")),
            session_keys=_key_names(fields.get("session_keys")),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRequest:
    """One entry of `/delete_requests/`.

    `used` is the load that the model server really did for it, `workload` what it asked for, both
    in the unit of perf; None where the worker does not tell.
    """

    request_idx: int
    status: str  # "Success", "Error", "Cancelled", "Rejected" or "Refused" (the client's mistake)
    route: str = ""
    workload: float | None = None
    used: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedReport:
    """What a worker finished, was rid of, or rejected."""

    worker_id: int
    token: str
    requests: tuple[FinishedRequest, ...]

    @staticmethod
    def from_json(body: bytes | str) -> FinishedReport:
        """The message in a request's body, in the shape of SDK 1.x or of mid-2025.

        Raises:
            WireError: not a JSON object, no usable id, or entries of a wrong type.
        """
        # One idx that a caller made up must not keep all others of its worker untold for ever.
        fields = parse_json_object(body, max_bytes=MAX_REPORT_BYTES, tolerant=True)
        entries = fields.get("requests")
        if entries is None:
            status = "Success" if fields.get("success") is True else "Error"
            idxs = fields.get("request_idxs") or []
            if not isinstance(idxs, list):
                _refuse("request_idxs", idxs, "a list of whole numbers")
            entries = [{"request_idx": idx, "status": status} for idx in idxs]
        if not isinstance(entries, list):
            _refuse("requests", entries, "a list of objects")
        return FinishedReport(
            worker_id=whole_of_text(
                "worker_id", fields.get("worker_id"), low=1, high=int(MAX_NUMBER)
            ),
            token=_text(fields, "mtoken", 200),
            requests=tuple(
                _finished(entry)
                for entry in entries
                # The idx is whatever a caller put into the ticket, so it may be anything.
                if isinstance(entry, dict) and _is_idx(entry.get("request_idx"))
            ),
        )


def _finished(entry: Mapping[str, object]) -> FinishedRequest:
    return FinishedRequest(
        request_idx=int(str(entry["request_idx"])),
        status=_text(entry, "status", 20),
        route=_text(entry, "route", 100),
        workload=_number(entry, "workload"),
        used=_number(entry, "used"),
    )


def _phases(value: object) -> tuple[tuple[str, float], ...]:
    """Parts of a start, as far as they make sense: they are told, and nothing hangs on them."""
    if not isinstance(value, dict):
        return ()
    found = [
        (name, float(seconds))
        for name, seconds in value.items()
        if isinstance(name, str)
        and _PHASE.fullmatch(name)
        and isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and 0 <= seconds <= MAX_PHASE_S
    ]
    return tuple(found[:MAX_PHASES])


def _key_names(value: object) -> tuple[str, ...]:
    """Names of keys, as far as they are texts: only a key that there was can be found by one."""
    if not isinstance(value, list):
        return ()
    return tuple(name for name in value[:MAX_SESSION_KEYS] if isinstance(name, str))


def _generation(fields: Mapping[str, object]) -> str | None:
    """Which generation's meanings the fields have (protocol.md B.1); None for a partial report."""
    if fields.get("ticket") == "D":
        return "D"
    if "max_perf" not in fields or "cur_load" not in fields:
        return None
    version = fields.get("version")
    if version is None:
        return "A"
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    numbers = tuple(int(part) for part in match.groups()) if match else None
    is_c = numbers is not None and (numbers >= (1, 1, 0) or numbers == (0, 0, 1))
    return "C" if is_c else "B"


def _worker_id(fields: Mapping[str, object], name: str) -> int:
    return whole_of_text(name, fields.get(name), low=1, high=MAX_NUMBER)  # the script quotes it


def _is_idx(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_EXACT_INT


def _number(fields: Mapping[str, object], name: str) -> float | None:
    value = optional_number(fields, name, low=0.0, high=MAX_NUMBER)
    return None if value is None else float(value)


def _is_beyond(value: object) -> bool:
    """A number that no load or count is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and not 0.0 <= float(str(value)) <= MAX_NUMBER


def _count(fields: Mapping[str, object], name: str) -> int | None:
    value = _number(fields, name)
    return None if value is None else int(value)


def _text(fields: Mapping[str, object], name: str, max_chars: int) -> str:
    value = fields.get(name)
    return value[:max_chars] if isinstance(value, str) else ""


def _error(fields: Mapping[str, object]) -> str | None:
    if "error_msg" not in fields:
        return None
    return _text(fields, "error_msg", MAX_ERROR_CHARS)


def _hex(fields: Mapping[str, object], name: str, n_digits: int) -> str:
    value = _text(fields, name, n_digits + 1)
    is_whole = len(value) == n_digits and _HEX.fullmatch(value)
    return value if is_whole and value.strip("0") else ""  # all zeros stand for none in the view


def _refuse(name: str, value: object, allowed: str) -> NoReturn:
    raise WireError(f"{name}: {str(value)[:50]!r} is not {allowed}")
