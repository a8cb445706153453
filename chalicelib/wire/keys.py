"""Bodies of `/api/v0/keys/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.wire.json_body import WireError, optional_number, optional_text, optional_whole

MAX_NAME = 128
MAX_LIFETIME_S = 100 * 366 * 86_400.0
LIMITS = ("expires_in_s", "max_requests_per_s", "max_concurrent", "max_load_per_s", "share")
KEY_NAMES = ("name", "verbs", "endpoint_id", "endpoint_name", *LIMITS)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRequest:
    """A key that somebody asks for. None = the whole account, for ever, without that quota."""

    name: str
    verbs: tuple[str, ...]
    endpoint_id: int | None = None
    endpoint_name: str | None = None
    expires_in_s: float | None = None
    max_requests_per_s: float | None = None
    max_concurrent: int | None = None
    max_load_per_s: float | None = None
    share: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitChanges:
    """Limits of a key to set, and those to remove; `expires_in_s` counts from now."""

    given: Mapping[str, float]
    unset: frozenset[str]


def parse_limit_changes(body: Mapping[str, object]) -> LimitChanges:
    """The limits that a body changes; what it leaves out, or says null, stays.

    Raises:
        WireError: one has the wrong type, or `unset` names no limit; the message names it.
    """
    found = {
        name: (optional_whole if name == "max_concurrent" else optional_number)(body, name)
        for name in LIMITS
    }
    unset = body.get("unset") or []
    if not isinstance(unset, list) or not all(name in LIMITS for name in unset):
        raise WireError(f"unset: {str(unset)[:80]!r}; give a list of {', '.join(LIMITS)}")
    given = {name: value for name, value in found.items() if value is not None}
    _check_lifetime(given.get("expires_in_s"))
    return LimitChanges(given=given, unset=frozenset(unset))


def parse_key_request(body: Mapping[str, object]) -> KeyRequest:
    """The key that a body asks for.

    Raises:
        WireError: a field is missing or has the wrong type; the message names it.
    """
    name, verbs = body.get("name"), body.get("verbs")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise WireError(
            f"name: {str(name)[:80]!r}; give a text of 1 to {MAX_NAME} characters, all of them "
            "printable"
        )
    if not isinstance(verbs, list) or not all(isinstance(verb, str) for verb in verbs):
        raise WireError(f"verbs: {str(verbs)[:80]!r}; give a list of route, read, admin")
    share, expires_in_s = optional_number(body, "share"), optional_number(body, "expires_in_s")
    _check_lifetime(expires_in_s)
    return KeyRequest(
        name=name,
        verbs=tuple(verbs),
        endpoint_id=optional_whole(body, "endpoint_id"),
        endpoint_name=optional_text(body, "endpoint_name"),
        expires_in_s=expires_in_s,
        max_requests_per_s=optional_number(body, "max_requests_per_s"),
        max_concurrent=optional_whole(body, "max_concurrent"),
        max_load_per_s=optional_number(body, "max_load_per_s"),
        share=1.0 if share is None else share,
    )


def _check_lifetime(seconds: float | None) -> None:
    if seconds is not None and not 0 < seconds <= MAX_LIFETIME_S:
        raise WireError(f"expires_in_s: {seconds!r}; allowed: above 0, to {MAX_LIFETIME_S:.0f}")
