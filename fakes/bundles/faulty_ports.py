"""Ports that count every call that leaves the process, and break at one of them.

For each scenario a first run counts the calls; then each of them fails before it has an effect,
fails after it (done, but the answer is lost), or the process dies before or after it. And while a
call is on its way, something else may happen: another loop runs, a lease expires.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.ports.marketplace import AmbiguousCreateError, MarketplaceUnavailableError
from chalicelib.ports.notifier import NotifierError

_INSIDE = frozenset({"clock", "randomness"})
"""Ports whose calls do not leave the process."""


class Killed(BaseException):
    """The process is gone: nothing may catch this, and nothing runs after it."""


class Mode(StrEnum):
    """How a call breaks."""

    FAILS_BEFORE = "fails_before"
    FAILS_AFTER = "fails_after"
    KILLED_BEFORE = "killed_before"
    KILLED_AFTER = "killed_after"


@dataclass(frozen=True, slots=True)
class Break:
    """Which call breaks, counted from 0, and how."""

    at_call: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What happens elsewhere just before a call, counted from 0, has its effect."""

    at_call: int
    happens: Callable[[], None]


class OutgoingCalls:
    """Counts calls through the ports it wrapped; `names` lists them as "ledger.reserve"."""

    def __init__(self, breaks: Break | None = None, meanwhile: Meanwhile | None = None) -> None:
        self.names: list[str] = []
        self.breaks = breaks
        self.meanwhile = meanwhile
        self.is_dead = False

    @property
    def has_broken(self) -> bool:
        """Whether the call that should break was made."""
        return self.breaks is not None and len(self.names) > self.breaks.at_call

    def wrap(self, ports: ScalerPorts) -> ScalerPorts:
        """The same ports, every one of them watched."""
        watched: dict[str, Any] = {
            spec.name: _Watched(spec.name, getattr(ports, spec.name), self)
            for spec in fields(ports)
            if spec.name not in _INSIDE and not _is_setting(getattr(ports, spec.name))
        }
        notifiers = tuple(_Watched("notifier", notifier, self) for notifier in ports.notifiers)
        return replace(ports, **watched, notifiers=notifiers)

    def perform(self, name: str, call: Any) -> Any:
        """Make a call, or break it."""
        if self.is_dead:
            raise Killed(name)
        index = len(self.names)
        self.names.append(name)
        if self.meanwhile is not None and self.meanwhile.at_call == index:
            self.meanwhile.happens()
        if self.breaks is None or self.breaks.at_call != index:
            return call()
        mode = self.breaks.mode
        if mode in (Mode.FAILS_AFTER, Mode.KILLED_AFTER):
            call()
        if mode in (Mode.KILLED_BEFORE, Mode.KILLED_AFTER):
            self.is_dead = True
            raise Killed(name)
        raise _failure(name)


class _Watched:
    """A port whose methods pass through `OutgoingCalls.perform`."""

    def __init__(self, name: str, port: Any, calls: OutgoingCalls) -> None:
        self._name, self._port, self._calls = name, port, calls

    def __getattr__(self, method: str) -> Any:
        target = getattr(self._port, method)
        if not callable(target):
            return target

        def watched(*args: Any, **kwargs: Any) -> Any:
            name = f"{self._name}.{method}"
            return self._calls.perform(name, lambda: target(*args, **kwargs))

        return watched


def _is_setting(value: object) -> bool:
    return isinstance(value, str | int | float | tuple)


def _failure(name: str) -> Exception:
    port, _, method = name.partition(".")
    if method == "create_instance":
        return AmbiguousCreateError("HTTP 504: the answer is lost")
    if port == "marketplace":
        return MarketplaceUnavailableError("HTTP 503")
    if port in ("signer", "secrets"):
        return KeysUnavailableError("KMS does not answer")
    if port == "notifier":
        return NotifierError("the webhook is down")
    return StorageUnavailableError("DynamoDB throttles")
