"""Two keys at a rotation, by a clock of our own that never jumps."""

from __future__ import annotations

import time

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from workers.pyworker.tickets.server_clock import ServerClock, steady_now
from workers.pyworker.tickets.signing_keys import PREVIOUS_KEY_S, REFRESH_INTERVAL_S, SigningKeys


def pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_the_previous_key_counts_for_as_long_as_its_tickets_may_live() -> None:
    """By the machine's own clock, an hour slow, it did not count at all after a rotation."""
    now, keys = 0.0, [pem(), pem()]
    n_fetched = 0

    async def fetch() -> str:
        nonlocal n_fetched
        n_fetched += 1
        return keys[min(n_fetched, 2) - 1]

    known = SigningKeys(fetch, lambda: now)
    assert await known.refresh()
    now = REFRESH_INTERVAL_S - 1
    assert not await known.refresh()
    assert n_fetched == 1
    now = REFRESH_INTERVAL_S
    assert await known.refresh()
    assert [one.pem for one in known.verifiers()] == keys[::-1]
    now += PREVIOUS_KEY_S - 1
    assert len(known.verifiers()) == 2
    now += 1
    assert [one.pem for one in known.verifiers()] == keys[1:]


def test_a_workers_time_goes_on_as_seconds_do() -> None:
    """The machine's clock may be set while we serve: tickets, sessions and phases do not notice."""
    clock = ServerClock()
    assert clock.local_now is steady_now
    assert abs(clock.now() - time.time()) < 60
    before, elapsed = clock.now(), time.monotonic()
    clock.correct(clock.local_now() + 3600.0, clock.local_now(), clock.local_now())
    assert 3599 < clock.now() - before - (time.monotonic() - elapsed) < 3601
