"""Callers' keys and instances' tokens: issue, check, rotate, revoke."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

from chalicelib.core.model.caller_key import (
    ADMIN,
    NO_KEY,
    READ,
    ROUTE,
    VERBS,
    WORKER_MAC_CHARS,
    WORKER_MAC_PURPOSE,
    CallerKeyError,
    KeyText,
    format_key,
    make_key_id,
    own_key_id,
    parse_key,
    parse_worker_token,
)
from chalicelib.core.model.endpoint_group import ParameterError
from chalicelib.core.routing.bounded import Bounded
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import ConflictError, NotFoundError, StorageUnavailableError
from chalicelib.ports.keys import CallerKey, check_limits
from chalicelib.ports.signer import SecretBox

ROW_CACHE_S = 30.0
ABSENT_CACHE_S = 1.0
MAX_CHANGE_TRIES = 5
MAX_CACHED = 10_000
NAME_BYTES = 8
_FOREIGN = "another version of Ballast wrote this api_key, and this one cannot read it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who calls. `endpoint_id` None: the whole account. `row` None: a group's own key."""

    key_id: str
    verbs: frozenset[str]
    endpoint_id: int | None
    generation: int
    row: CallerKey | None = None
    is_own: bool = False  # an endpoint's own key, whose generation the group holds

    @property
    def share(self) -> float:
        """Its weight among the keys that wait."""
        return self.row.share if self.row else 1.0

    def may(self, verb: str, endpoint_id: int | None = None) -> bool:
        """Whether the caller may do this to this endpoint group (None: to the account)."""
        return verb in self.verbs and self.endpoint_id in (None, endpoint_id)


@dataclass(slots=True)
class KeyMemory:
    """Rows of keys, remembered for `ROW_CACHE_S`, and the keys whose proof was found right."""

    verified: Bounded[str, KeyText] = field(default_factory=lambda: Bounded(MAX_CACHED))
    rows: Bounded[str, tuple[float, CallerKey | None]] = field(
        default_factory=lambda: Bounded(MAX_CACHED)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyLimits:
    """Quotas of a key; None = none."""

    expires_at: float | None = None
    max_requests_per_s: float | None = None
    max_concurrent: int | None = None
    max_load_per_s: float | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        """Check every bound.

        Raises:
            ParameterError: for the first limit out of bounds.
        """
        check_limits(self)


def check_key(ports: HotPorts, memory: KeyMemory, text: str, now: float) -> Caller:
    """Who holds this key. A wrong key is refused before any read.

    A key without its row is refused, but for a group's own, whose generation the group holds.

    Raises:
        CallerKeyError: the key is wrong, unknown, expired or revoked.
        StorageUnavailableError: its row is not known here, and the database does not answer.
        KeysUnavailableError: what proves keys cannot be read, and is not in memory yet.
    """
    key = memory.verified.get(text) or _verify(ports, memory, text)
    has_row = not key.is_own or key.is_former
    row = _row(ports, memory, key.key_id, now) if has_row else None
    if has_row:
        if row is None:
            raise CallerKeyError("this api_key is unknown; ask for a new one")
        if key.is_former and not _is_former_key(row, key):
            raise CallerKeyError(NO_KEY)
        _check_row(row, key.generation, now)
    return Caller(
        key_id=key.key_id,
        verbs=key.verbs,
        endpoint_id=key.endpoint_id,
        generation=key.generation,
        row=None if key.is_own else row,
        is_own=key.is_own,
    )


def is_in_force(
    ports: HotPorts, memory: KeyMemory, key_id: str, generation: int, now: float, *, seen_s: float
) -> bool:
    """Whether a key with a row would still be accepted, by a row read within `seen_s`.

    Raises:
        StorageUnavailableError: its row is not known here, and the database does not answer.
    """
    row = _row(ports, memory, key_id, now, seen_s)
    if row is None:
        return False
    try:
        _check_row(row, generation, now)
    except CallerKeyError:
        return False
    return True


def _is_former_key(row: CallerKey, key: KeyText) -> bool:
    known = row.former_hashes.get(str(key.generation), "")
    return hmac.compare_digest(known, proof_hash(key.proof))


def proof_hash(proof: str) -> str:
    """What a row holds of a proof of the former kind."""
    return hashlib.sha256(proof.encode()).hexdigest()


def _verify(ports: HotPorts, memory: KeyMemory, text: str) -> KeyText:
    key = parse_key(text)
    if key.is_former:
        if key.is_derived or not ports.secrets.has_former_keys:
            raise CallerKeyError(NO_KEY)
        return key
    if not ports.secrets.is_proof(key.signed, key.proof):
        raise CallerKeyError(NO_KEY)
    memory.verified[text] = key
    return key


def _check_row(row: CallerKey, generation: int, now: float) -> None:
    if row.is_foreign:
        raise CallerKeyError(_FOREIGN)
    if row.is_held:
        raise CallerKeyError(
            "this api_key waits for its owner since a restore: `ballast update key KEYID --confirm`"
        )
    if row.expires_at is not None and now >= row.expires_at:
        raise CallerKeyError("this api_key has expired; ask for a new one")
    if generation < row.revoked_generations_below or generation > row.generation:
        raise CallerKeyError("this api_key was revoked")


def _row(
    ports: HotPorts, memory: KeyMemory, key_id: str, now: float, seen_s: float = ROW_CACHE_S
) -> CallerKey | None:
    cached = memory.rows.get(key_id)
    if cached is not None and now - cached[0] < (seen_s if cached[1] else ABSENT_CACHE_S):
        return cached[1]
    try:
        row = ports.keys.find(key_id)
    except StorageUnavailableError:
        if cached is None:
            raise
        return cached[1]
    memory.rows[key_id] = (now, row)
    return row


def endpoint_key(secrets: SecretBox, endpoint_id: int, key_generation: int) -> str:
    """The endpoint's own route-only key, derived anew each time; no row stands behind it."""
    key_id = own_key_id(endpoint_id)
    return format_key(key_id, key_generation, secrets.prove(f"{key_id}.{key_generation}"))


def shown_key(secrets: SecretBox, caller: Caller, endpoint_id: int, key_generation: int) -> str:
    """The `api_key` of a group as this caller is shown it: one that routes, and no more.

    Who manages the whole account gets the group's own key. Everybody else gets a key derived from
    the one they hold: it has the same limits, and ends with it. Empty for who may not route.
    """
    if ROUTE not in caller.verbs:
        return ""
    if caller.endpoint_id is None and ADMIN in caller.verbs:
        return endpoint_key(secrets, endpoint_id, key_generation)
    key_id = f"{caller.key_id}-d{endpoint_id}"
    return format_key(key_id, caller.generation, secrets.prove(f"{key_id}.{caller.generation}"))


def issue_key(
    ports: HotPorts,
    *,
    name: str,
    verbs: Iterable[str],
    endpoint_id: int | None = None,
    limits: KeyLimits | None = None,
    note: Callable[[CallerKey], None] | None = None,
) -> tuple[str, CallerKey]:
    """A new key: its text, which is shown once and never stored, and its row.

    `note` is told of the row just before it is stored: what it does cannot cost the key's text.

    Raises:
        ParameterError: no verbs, or unknown ones.
    """
    now = ports.clock.now()
    wanted, given = frozenset(verbs), limits or KeyLimits()
    if not wanted or wanted - VERBS:
        raise ParameterError(f"verbs: {sorted(wanted)}; allowed: some of {sorted(VERBS)}")
    key_id = make_key_id(endpoint_id, wanted, ports.randomness.token(NAME_BYTES))
    row = CallerKey(
        key_id=key_id,
        name=name,
        verbs=wanted,
        endpoint_id=endpoint_id,
        generation=1,
        created_at=now,
        expires_at=given.expires_at,
        max_requests_per_s=given.max_requests_per_s,
        max_concurrent=given.max_concurrent,
        max_load_per_s=given.max_load_per_s,
        share=given.share,
        revision=1,
    )
    text = _text(ports.secrets, row)  # first: what cannot be told, for lack of KMS, is not stored
    if note is not None:
        note(row)
    ports.keys.put(row)
    return text, row


def limit_key(ports: HotPorts, key_id: str, limits: KeyLimits) -> CallerKey:
    """Replace a key's limits; takes effect within `ROW_CACHE_S`.

    Raises:
        NotFoundError: no such key.
    """
    return _change(ports, key_id, lambda row: replace(row, **asdict(limits)))


def rotate_key(ports: HotPorts, key_id: str, *, keep_old: bool = True) -> tuple[str, CallerKey]:
    """A new generation of a key; the older ones stay valid until revoked, unless `keep_old` is off.

    Raises:
        NotFoundError: no such key.
    """

    def rotated(row: CallerKey) -> CallerKey:
        generation = row.generation + 1
        below = row.revoked_generations_below if keep_old else generation
        return replace(row, generation=generation, revoked_generations_below=below)

    _text(ports.secrets, rotated(_existing(ports, key_id)))  # without KMS nothing is changed
    row = _change(ports, key_id, rotated)
    return _text(ports.secrets, row), row


def revoke_key(ports: HotPorts, key_id: str, *, older_only: bool = False) -> CallerKey:
    """Refuse all generations of a key, or all but the newest; takes effect within `ROW_CACHE_S`.

    Raises:
        NotFoundError: no such key.
    """

    def revoked(row: CallerKey) -> CallerKey:
        below = row.generation + (0 if older_only else 1)
        return replace(row, revoked_generations_below=max(below, row.revoked_generations_below))

    return _change(ports, key_id, revoked)


def hold_key(ports: HotPorts, key_id: str) -> CallerKey:
    """Refuse a key until it is confirmed: what its row says may be older than its last change.

    Raises:
        NotFoundError: no such key.
    """
    return _change(ports, key_id, lambda row: replace(row, is_held=True))


def confirm_key(ports: HotPorts, key_id: str) -> CallerKey:
    """The owner says that a held key's row is as it should be.

    Raises:
        NotFoundError: no such key.
    """
    return _change(ports, key_id, lambda row: replace(row, is_held=False))


def list_keys(ports: HotPorts) -> Sequence[CallerKey]:
    """All keys, oldest first."""
    return sorted(ports.keys.list(), key=lambda row: (row.created_at, row.key_id))


def first_admin_key(
    ports: HotPorts, now: float, note: Callable[[CallerKey], None] | None = None
) -> str | None:
    """The first key with all verbs for the whole account; None if a usable one exists."""
    for row in ports.keys.list():
        is_valid = row.revoked_generations_below <= row.generation and not (
            row.is_held or row.is_foreign
        )
        is_usable = is_valid and (row.expires_at is None or row.expires_at > now)
        if is_usable and row.endpoint_id is None and ADMIN in row.verbs:
            return None
    text, _ = issue_key(ports, name="first admin", verbs=(ROUTE, READ, ADMIN), note=note)
    return text


def worker_token(secrets: SecretBox, endpoint_id: int, intent_token: str) -> str:
    """An instance's MASTER_TOKEN: says its endpoint and intent, and proves it."""
    signed = f"{endpoint_id}.{intent_token}"
    return f"{signed}.{secrets.mac(WORKER_MAC_PURPOSE, signed)[:WORKER_MAC_CHARS]}"


def check_worker_token(secrets: SecretBox, text: str) -> tuple[int, str] | None:
    """(endpoint id, intent token) of a genuine instance token, else None.

    Raises:
        KeysUnavailableError: KMS is down, and the pepper is not in memory yet.
    """
    token = parse_worker_token(text)
    if token is None:
        return None
    expected = secrets.mac(WORKER_MAC_PURPOSE, token.signed)[:WORKER_MAC_CHARS]
    if not hmac.compare_digest(expected, token.mac):
        return None
    return token.endpoint_id, token.intent_token


def _change(ports: HotPorts, key_id: str, change: Callable[[CallerKey], CallerKey]) -> CallerKey:
    """Change the row as it is now: what somebody else changed meanwhile stays changed.

    Raises:
        NotFoundError: no such key.
        ConflictError: others change it all the time.
    """
    for n_tries in range(1, MAX_CHANGE_TRIES + 1):
        before = _existing(ports, key_id)
        if before.is_foreign:
            raise ConflictError(f"{key_id}: {_FOREIGN}")
        after = replace(change(before), revision=before.revision + 1)
        try:
            ports.keys.put(after)
        except ConflictError:
            if n_tries == MAX_CHANGE_TRIES:
                raise
            continue
        return after
    raise AssertionError("unreachable")


def _existing(ports: HotPorts, key_id: str) -> CallerKey:
    row = ports.keys.find(key_id)
    if row is None:
        raise NotFoundError(f"no key {key_id!r}")
    return row


def _text(secrets: SecretBox, row: CallerKey) -> str:
    proof = secrets.prove(f"{row.key_id}.{row.generation}")
    return format_key(row.key_id, row.generation, proof)
