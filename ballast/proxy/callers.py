"""Who may call a proxy with several keys, and how much: a TOML file, and its limits. Pure.

    [shop]                        # the caller's name, in metrics and logs
    key = "sk-…"                  # what it sends as Authorization: Bearer, 20 letters or more
    ballast_key = "blk.…"         # what its requests are routed with; left out: the proxy's own -k
    endpoints = ["chat"]          # groups it may use; left out: all that its Ballast key may
    max_requests_per_s = 5        # of this proxy; left out: no limit
    max_concurrent = 8

Limits that hold over several proxies are those of the Ballast key itself.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

SHORTEST_KEY = 20
BURST_S = 2.0
"""Seconds' worth of requests that may come at once after a pause, at least one."""

_FIELDS = ("key", "ballast_key", "endpoints", "max_requests_per_s", "max_concurrent")


class CallersError(ValueError):
    """The file cannot be used; the message names the caller, the value and the fix."""


class OverLimitError(Exception):
    """A caller's limit is reached; `retry_after_s` seconds from now it may be asked again."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """One line of the file. 0 and empty: no limit."""

    name: str
    ballast_key: str = field(default="", repr=False)
    endpoints: frozenset[str] = frozenset()
    max_requests_per_s: float = 0.0
    max_concurrent: int = 0

    def may_use(self, endpoint: str) -> bool:
        """Whether the group is one of its own."""
        return not self.endpoints or endpoint in self.endpoints


def read_callers(text: str) -> Mapping[bytes, Caller]:
    """The callers of a file, by the SHA-256 of their key: no key is kept.

    Raises:
        CallersError: with what to change.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CallersError(f"not TOML: {error}") from error
    callers: dict[bytes, Caller] = {}
    for name, table in tables.items():
        digest, caller = _caller(name, table)
        if digest in callers:
            raise CallersError(f"[{name}] and [{callers[digest].name}] have the same key")
        callers[digest] = caller
    if not callers:
        raise CallersError('the file names no caller: begin with [NAME] and key = "…"')
    return callers


def digest_of(key: str) -> bytes:
    """What a key is found by."""
    return hashlib.sha256(key.encode()).digest()


def _caller(name: str, table: object) -> tuple[bytes, Caller]:
    if not isinstance(table, dict):
        raise CallersError(f'{name}: a caller is a table: [{name}], then key = "…"')
    if unknown := sorted(set(table) - set(_FIELDS)):
        raise CallersError(f"[{name}] {unknown[0]}: unknown; there are {', '.join(_FIELDS)}")
    key, ballast_key = table.get("key"), table.get("ballast_key", "")
    if not isinstance(key, str) or len(key) < SHORTEST_KEY:
        raise CallersError(f"[{name}] key: a text of {SHORTEST_KEY} letters or more is needed")
    if not isinstance(ballast_key, str):
        raise CallersError(f"[{name}] ballast_key: a text is needed")
    endpoints = table.get("endpoints", [])
    if not isinstance(endpoints, list) or not all(isinstance(one, str) for one in endpoints):
        raise CallersError(f"[{name}] endpoints: a list of names is needed")
    rate, concurrent = table.get("max_requests_per_s", 0), table.get("max_concurrent", 0)
    for field_name, value in (("max_requests_per_s", rate), ("max_concurrent", concurrent)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not (field_name not in table or 0 < value < 1e6):
            raise CallersError(f"[{name}] {field_name}: {value!r}; allowed: above 0 to 1e6")
    if concurrent != int(concurrent):
        raise CallersError(f"[{name}] max_concurrent: {concurrent!r} is not a whole number")
    return digest_of(key), Caller(
        name=name,
        ballast_key=ballast_key,
        endpoints=frozenset(endpoints),
        max_requests_per_s=float(rate),
        max_concurrent=int(concurrent),
    )


@dataclass(slots=True)
class _Use:
    tokens: float
    at: float
    n_running: int = 0


class Limits:
    """What each caller has used of its limits, in this process."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}

    def begin(self, caller: Caller, now: float) -> None:
        """Count a request that begins at `now` (seconds).

        Raises:
            OverLimitError: it may not begin yet.
        """
        rate = caller.max_requests_per_s
        depth = max(1.0, rate * BURST_S)
        use = self._uses.setdefault(caller.name, _Use(depth, now))
        use.tokens = min(depth, use.tokens + rate * (now - use.at))
        use.at = now
        if caller.max_concurrent and use.n_running >= caller.max_concurrent:
            raise OverLimitError(
                f"{caller.name} has {use.n_running} requests under way, as many as it may", 1.0
            )
        if rate and use.tokens < 1.0:
            raise OverLimitError(
                f"{caller.name} may send {rate:g} requests a second", (1.0 - use.tokens) / rate
            )
        use.tokens -= 1.0 if rate else 0.0
        use.n_running += 1

    def end(self, caller: Caller) -> None:
        """Count a request that has ended."""
        if use := self._uses.get(caller.name):
            use.n_running = max(0, use.n_running - 1)
