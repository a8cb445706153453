"""Callers' keys as text: `blk.KEYID.GENERATION.PROOF`; nothing usable is stored anywhere.

PROOF is a signature over KEYID.GENERATION, which management alone can make. Keys of the former kind
end with a MAC of 43 characters instead; their rows hold its hash.

KEYID says the scope by itself: `a-VERBS-NAME` for the whole account, `eENDPOINT-VERBS-NAME` for one
endpoint group; VERBS is a subset of r (route), o (observe: read) and a (admin). `KEYID-dENDPOINT`
is derived from a key: it only routes, to that group, under the key's limits and for its life.
An instance's MASTER_TOKEN is of the same kind: `ENDPOINT_ID.INTENT_TOKEN.MAC`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PREFIX = "blk"
WORKER_MAC_PURPOSE = "worker"
WORKER_MAC_CHARS = 22  # 132 bits in base64url
FORMER_PROOF_CHARS = 43  # 256 bits in base64url

ROUTE, READ, ADMIN = "route", "read", "admin"
_LETTERS = {"r": ROUTE, "o": READ, "a": ADMIN}
VERBS = frozenset(_LETTERS.values())

_KEY = re.compile(
    r"blk\.((?:a|e(\d{1,15}))-([roa]{1,3})-([0-9a-z]{1,40}))(?:-d(\d{1,15}))?\.([1-9]\d{0,8})\.([\w-]{86}|[\w-]{43})",
    re.ASCII,
)
_NAME = re.compile(r"((?:a|e\d{1,15})-[roa]{1,3}-[0-9a-z]{1,40})\.([1-9]\d{0,8})", re.ASCII)
_WORKER_TOKEN = re.compile(r"((\d{1,15})\.([\w-]{1,60}))\.([\w-]{22})", re.ASCII)

OWN_NAME = "own"
"""The endpoint's own route-only key, which the vendor's SDK shows to every worker."""


NO_KEY = "invalid api_key"
"""Said of a text that no key of ours is or was: the vendor's words."""


class CallerKeyError(Exception):
    """The key is malformed, expired, revoked, or lacks a right. The message is safe to show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyText:
    """A key taken apart; nothing is verified yet. `endpoint_id` None: the whole account."""

    key_id: str
    endpoint_id: int | None
    verbs: frozenset[str]
    generation: int
    proof: str
    is_derived: bool = False  # shown instead of the group's own key; `key_id` is the parent's

    @property
    def signed(self) -> str:
        """What the proof covers."""
        suffix = f"-d{self.endpoint_id}" if self.is_derived else ""
        return f"{self.key_id}{suffix}.{self.generation}"

    @property
    def is_former(self) -> bool:
        """Whether it ends with a MAC."""
        return len(self.proof) == FORMER_PROOF_CHARS

    @property
    def is_own(self) -> bool:
        """Whether it is an endpoint's own key, whose generation the group holds."""
        return (
            not self.is_derived
            and self.endpoint_id is not None
            and self.key_id.endswith(f"-{OWN_NAME}")
        )


def parse_key(text: str) -> KeyText:
    """A key taken apart.

    Raises:
        CallerKeyError: it does not have the form of a key.
    """
    match = _KEY.fullmatch(text)
    if match is None:
        raise CallerKeyError(NO_KEY)
    key_id, endpoint, letters, _, derived, generation, proof = match.groups()
    if derived is not None:
        if "r" not in letters or endpoint not in (None, derived):
            raise CallerKeyError(NO_KEY)
        return KeyText(
            key_id=key_id,
            endpoint_id=int(derived),
            verbs=frozenset({ROUTE}),
            generation=int(generation),
            proof=proof,
            is_derived=True,
        )
    return KeyText(
        key_id=key_id,
        endpoint_id=None if endpoint is None else int(endpoint),
        verbs=frozenset(_LETTERS[letter] for letter in letters),
        generation=int(generation),
        proof=proof,
    )


def make_key_id(endpoint_id: int | None, verbs: Iterable[str], name: str) -> str:
    """A key id; `name` is lower-case letters and digits (random, or `own`)."""
    wanted = frozenset(verbs)
    letters = "".join(letter for letter, verb in _LETTERS.items() if verb in wanted)
    scope = "a" if endpoint_id is None else f"e{endpoint_id}"
    return f"{scope}-{letters}-{name}"


def own_key_id(endpoint_id: int) -> str:
    """The id of an endpoint's own key."""
    return make_key_id(endpoint_id, (ROUTE,), OWN_NAME)


def key_name(key_id: str, generation: int) -> str:
    """A key as tickets name it: it says whose they are, and proves nothing."""
    return f"{key_id}.{generation}"


def split_key_name(text: str) -> tuple[str, int] | None:
    """(key id, generation) of a key's name; None if it does not have that form."""
    match = _NAME.fullmatch(text)
    return None if match is None else (match[1], int(match[2]))


def format_key(key_id: str, generation: int, proof: str) -> str:
    """The key as its holder sees it."""
    return f"{PREFIX}.{key_id}.{generation}.{proof}"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerToken:
    """An instance's token taken apart; nothing is verified yet."""

    endpoint_id: int
    intent_token: str
    signed: str
    mac: str


def parse_worker_token(text: str) -> WorkerToken | None:
    """An instance's token taken apart; None if it does not have that form."""
    match = _WORKER_TOKEN.fullmatch(text)
    if match is None:
        return None
    signed, endpoint_id, intent_token, mac = match.groups()
    return WorkerToken(
        endpoint_id=int(endpoint_id), intent_token=intent_token, signed=signed, mac=mac
    )
