"""`request_idx`: 53 bits that say when a request was first seen and what became of it.

So a repeat needs no look-up. From the top: kind 2 bits, attempts 2, payload 23, first seen 14
(quarter seconds modulo 4,096 s), check 12. The payload of a waiting request is a nonce (23); of a
granted one the worker's slot (13) and the key of its use (10, core/model/usage.py); of one that
waits again after a failed grant the slot to avoid (13) and a nonce (10). The check is keyed, so a
client cannot make itself old. Never 0, below 2**53 (JavaScript).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

N_SLOTS = 8_191  # a prime below 2^13: instance ids spread evenly
MAX_ATTEMPTS = 3  # two bits
_TICKS_PER_S = 4  # quarter seconds: 14 bits reach 68 minutes
_PERIOD = 1 << 14  # 14 bits
_SKEW_TICKS = 8
"""Another function's clock may be 2 s ahead of ours."""


class IndexKind(IntEnum):
    """What became of the request."""

    OUTSIDE = 0  # waits without a place in the queue: over its key's quota
    WAITING = 1
    GRANTED = 2
    WAITING_AGAIN = 3  # after a grant that failed


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestIndex:
    """A decoded idx. `slot`: of the worker it was granted (or that failed it); None if waiting."""

    kind: IndexKind
    n_grants: int  # 0 to MAX_ATTEMPTS, then it stays there
    first_seen_at: float
    slot: int | None
    low_bits: int  # of the nonce, or the key of its use

    def encode(self, key: bytes) -> int:
        """The idx as a number."""
        payload = (
            self.low_bits & 0x7FFFFF
            if self.slot is None
            else self.slot << 10 | (self.low_bits & 0x3FF)
        )
        tick = int(self.first_seen_at * _TICKS_PER_S) % _PERIOD
        body = ((self.kind << 2 | min(self.n_grants, MAX_ATTEMPTS)) << 23 | payload) << 14 | tick
        return body << 12 | _check(body, key)


def worker_slot(instance_id: int) -> int:
    """The short name of a worker inside an idx; two workers share one now and then."""
    return instance_id % N_SLOTS


def use_key_of_index(idx: int) -> int | None:
    """The key of the use of a granted request, by whoever was given its ticket; None: not one."""
    body = idx >> 12
    if not 0 < idx < 1 << 53 or body >> 39 & 3 != IndexKind.GRANTED:
        return None
    return body >> 14 & 0x3FF


def decode_index(idx: int, key: bytes, now: float) -> RequestIndex | None:
    """The request behind an idx of the last 4,096 s; None if it is not one of ours."""
    if not 0 < idx < 1 << 53:
        return None
    body, check = idx >> 12, idx & 0xFFF
    if check != _check(body, key):
        return None
    kind = IndexKind(body >> 39 & 3)
    has_nonce = kind in (IndexKind.OUTSIDE, IndexKind.WAITING)
    payload = body >> 14 & 0x7FFFFF
    age_ticks = (int(now * _TICKS_PER_S) + _SKEW_TICKS - (body & 0x3FFF)) % _PERIOD - _SKEW_TICKS
    return RequestIndex(
        kind=kind,
        n_grants=body >> 37 & 3,
        first_seen_at=int(now * _TICKS_PER_S - age_ticks) / _TICKS_PER_S,
        slot=None if has_nonce else payload >> 10,
        low_bits=payload if has_nonce else payload & 0x3FF,
    )


def _check(body: int, key: bytes) -> int:
    digest = hashlib.blake2b(body.to_bytes(6, "big"), digest_size=2, key=key).digest()
    return int.from_bytes(digest, "big") & 0xFFF
