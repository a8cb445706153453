"""Set aside: what failed lately is tried later, for a time that grows and fades. Pure.

A refused or failed rental sets aside its offer and its machine, never the group: the next candidate
is tried in the same or the next round. Where everything that fits is set aside, the one whose time
ends first is tried, so that no failure of candidates stops a group for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chalicelib.core.model.worker import Worker

FIRST_S = 120.0  # after the first failure; doubles with each further one
LONGEST_S = 6 * 3600.0  # reliability.md: an offer or host is tried four times a day at least
FIRST_RETURN_S = 600.0  # after a worker that fails or does not stop: longer than most loads
FORGOTTEN_AFTER_S = 86_400.0  # without another failure
MAX_REMEMBERED = 1_000  # chosen: more than the offers of a day; bounds the memory
FREE_TRIES = 3  # refusals in a row of one autogroup, or of its bids, that cost no pause
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 60.0  # between its tries after that


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What failed: how often, and until when it is set aside."""

    n: int
    at: float
    until: float
    problem: str = ""


Failures = Mapping[str, Failure]
"""By key: see `offer_key`, `machine_key`, `host_key`, `autogroup_key` and the others below."""


def offer_key(offer_id: int) -> str:
    """Of an offer."""
    return f"offer:{offer_id}"


def machine_key(machine_id: int) -> str:
    """Of a machine, whatever offer of it was tried."""
    return f"machine:{machine_id}"


def host_key(host_id: int) -> str:
    """Of a host, whatever machine of it: one billed far more than its offer said."""
    return f"host:{host_id}"


def autogroup_key(autogroup_id: int) -> str:
    """Of an autogroup: its failures in a row, whatever was tried."""
    return f"autogroup:{autogroup_id}"


def bids_key(autogroup_id: int) -> str:
    """Of an autogroup's bids: refused in a row, or lost before the machine had loaded."""
    return f"bids:{autogroup_id}"


def failing_key(endpoint_id: int) -> str:
    """Of a group's workers that were returned because they failed their requests."""
    return f"failing:{endpoint_id}"


def stopping_key(endpoint_id: int) -> str:
    """Of a group's workers that did not stop as they were told, and were returned."""
    return f"stopping:{endpoint_id}"


def order_key(instance_id: int) -> str:
    """Of what a machine was told and Vast refused; it sets nothing aside."""
    return f"order:{instance_id}"


def reboot_key(instance_id: int) -> str:
    """Of reboots of an instance that Vast refused; it sets nothing aside."""
    return f"reboot:{instance_id}"


def bid_start_key(instance_id: int) -> str:
    """Of an outbid machine whose raised bid, or the start after it, was refused."""
    return f"bid_start:{instance_id}"


def add_failure(before: Failures, keys: Iterable[str], problem: str, now: float) -> Failures:
    """With one more failure of these."""
    after = dict(before)
    for key in keys:
        known = before.get(key)
        n = 1 + (known.n if known is not None and now - known.at < FORGOTTEN_AFTER_S else 0)
        after[key] = Failure(n=n, at=now, until=now + _pause_s(key, n), problem=problem[:200])
    return _newest(after, now)


def n_reboot_refusals(failures: Failures, instance_id: int) -> int:
    """How often in a row Vast refused to reboot an instance."""
    failure = failures.get(reboot_key(instance_id))
    return failure.n if failure is not None else 0


def forgive(before: Failures, keys: Iterable[str]) -> Failures:
    """Without these: they succeeded."""
    gone = set(keys)
    return {key: failure for key, failure in before.items() if key not in gone}


def forgive_bids(before: Failures, workers: Iterable[Worker]) -> Failures:
    """Without the failures of bids whose autogroup has loaded a machine at a bid since."""
    loaded = [worker for worker in workers if worker.is_bid and worker.loaded_at > 0]
    won = {
        key
        for worker in loaded
        for key in [bids_key(worker.autogroup_id)]
        if key in before and worker.loaded_at > before[key].at
    }
    return forgive(before, won)


def set_aside_until(failures: Failures, now: float) -> Mapping[str, float]:
    """Until when each is set aside, of those that are now."""
    return {key: failure.until for key, failure in failures.items() if failure.until > now}


def _pause_s(key: str, n: int) -> float:
    if key.startswith(("order:", "reboot:")):
        return 0.0
    if key.startswith("host:"):
        return LONGEST_S  # the next rental would bill as much
    first_s, longest_s = FIRST_S, LONGEST_S
    if key.startswith(("failing:", "stopping:")):
        first_s = FIRST_RETURN_S
    elif key.startswith("autogroup:"):
        first_s, longest_s = FIRST_PAUSE_S, LONGEST_PAUSE_S
    if key.startswith(("autogroup:", "bids:")):
        n -= FREE_TRIES
    return min(longest_s, first_s * 2.0 ** min(n - 1, 20)) if n > 0 else 0.0


def _newest(failures: Mapping[str, Failure], now: float) -> Failures:
    kept = {
        key: _clamped(failure, now)
        for key, failure in failures.items()
        if now - failure.at < FORGOTTEN_AFTER_S
    }
    newest = sorted(kept, key=lambda key: kept[key].at, reverse=True)[:MAX_REMEMBERED]
    return {key: kept[key] for key in sorted(newest)}


def _clamped(failure: Failure, now: float) -> Failure:
    """A failure of a clock that was ahead: nothing is set aside longer than it can be."""
    if failure.at <= now:
        return failure
    until = min(failure.until, now + LONGEST_S)
    return Failure(n=failure.n, at=now, until=until, problem=failure.problem)
