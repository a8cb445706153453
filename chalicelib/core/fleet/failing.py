"""Failing workers: those whose requests fail far more often than their peers' do. Pure.

A worker can answer its health check and fail every request, and it is free all the time, so that it
draws most of the traffic. Its own counters tell (errors of the model server, answers of 500 and
above; what a client got wrong is none), compared with the other workers of its group over the same
minutes. Where all fail alike, the requests or the template are at fault, and nobody is set aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.model.load import LEAST_REQUESTS
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState

FADING_HALF_S = 300.0  # of what is remembered of past requests
LEAST_BAD = 4.0  # failures before a worker is judged against its peers,
LEAST_SHARE = 0.5  # and the share of its requests that they must be,
TIMES_ODDS = 9.0  # and how many times its peers' odds of failing its own must be
PEER_PRIOR_N, PEER_PRIOR_BAD = 4.0, 0.2  # peers of whom nothing is known fail one in twenty
ALONE_BAD, ALONE_SHARE = 8.0, 0.9  # for a worker without peers that served lately
LARGEST_PART = 3  # one in so many workers is set aside at once, and one at least
DOUBT_HOLDS_S = 600.0  # clients' complaints are acted on for so long
_JUDGED = frozenset({WorkerState.READY, WorkerState.SUSPECT, WorkerState.DRAINING})


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """How a worker's requests ended lately, fading; and its counters when they were last read."""

    n: float = 0.0
    n_bad: float = 0.0
    at: float = 0.0
    boot_id: str = ""
    n_ended: int = 0
    n_errored: int = 0

    @property
    def share(self) -> float:
        """Of requests that failed."""
        return self.n_bad / self.n if self.n > 0 else 0.0


def follow_outcomes(
    before: Mapping[str, Outcomes], workers: Iterable[Worker], now: float
) -> dict[str, Outcomes]:
    """What is known of each judged worker now, by instance id; a reboot starts anew."""
    after = {}
    for worker in workers:
        if worker.state not in _JUDGED or worker.boot_id == "":
            continue  # without a boot id its counters tell nothing of errors
        key = str(worker.instance_id)
        n_ended, n_errored = worker.n_served + worker.n_errored, worker.n_errored
        unseen = Outcomes(at=now, boot_id=worker.boot_id, n_ended=n_ended, n_errored=n_errored)
        known = before.get(key, unseen)  # its past is unknown, and counts for nothing
        if known.boot_id != worker.boot_id or known.n_ended > n_ended:
            known = Outcomes(at=now, boot_id=worker.boot_id)
        keep = 0.5 ** (max(0.0, now - known.at) / FADING_HALF_S)
        if known.n * keep < LEAST_REQUESTS:
            keep = 0.0
        after[key] = Outcomes(
            n=known.n * keep + n_ended - known.n_ended,
            n_bad=known.n_bad * keep + max(0, n_errored - known.n_errored),
            at=now,
            boot_id=worker.boot_id,
            n_ended=n_ended,
            n_errored=n_errored,
        )
    return after


def find_failing(
    outcomes: Mapping[str, Outcomes], workers: Sequence[Worker], now: float
) -> dict[int, str]:
    """The workers of one group that fail, and why in words: the worst, and not too many at once."""
    judged = [w for w in workers if w.state in _JUDGED]
    found: list[tuple[float, int, str]] = []
    for worker in judged:
        own = outcomes.get(str(worker.instance_id), Outcomes())
        peers = [outcomes.get(str(w.instance_id), Outcomes()) for w in judged if w is not worker]
        if why := _why_failing(own, peers):
            found.append((own.share, worker.instance_id, why))
        elif is_doubted(worker, now):
            found.append((0.0, worker.instance_id, "its clients come back from it"))
    found.sort(key=lambda item: (-item[0], item[1]))
    n_up = sum(1 for w in workers if w.state in _JUDGED or w.state is WorkerState.REBOOTING)
    n_aside = sum(1 for w in workers if w.state is WorkerState.REBOOTING or _is_on_its_way(w))
    ids_aside = {w.instance_id for w in workers if _is_on_its_way(w)}
    room = max(0, max(1, n_up // LARGEST_PART) - n_aside)
    kept = {id_: why for _, id_, why in found if id_ in ids_aside}
    return kept | {id_: why for _, id_, why in [f for f in found if f[1] not in ids_aside][:room]}


def all_fail(outcomes: Mapping[str, Outcomes], workers: Sequence[Worker]) -> Outcomes | None:
    """The outcomes of a whole group whose requests mostly fail, whoever serves them; else None."""
    own = [
        outcomes[str(w.instance_id)]
        for w in workers
        if w.state in _JUDGED and str(w.instance_id) in outcomes
    ]
    n, n_bad = sum(o.n for o in own), sum(o.n_bad for o in own)
    if n_bad < ALONE_BAD or n_bad < LEAST_SHARE * n:
        return None
    return Outcomes(n=n, n_bad=n_bad)


def is_doubted(worker: Worker, now: float) -> bool:
    """Whether clients complained of this worker since it last came up."""
    is_fresh = now - worker.doubted_at < DOUBT_HOLDS_S
    return worker.doubted_at > worker.started_at and is_fresh and worker.state in _JUDGED


def _why_failing(own: Outcomes, peers: Sequence[Outcomes]) -> str:
    n, n_bad = sum(p.n for p in peers), sum(p.n_bad for p in peers)
    words = f"{own.n_bad:.0f} of its last {own.n:.0f} requests failed"
    if n < 1.0:
        is_failing = own.n_bad >= ALONE_BAD and own.share >= ALONE_SHARE
        return words if is_failing else ""
    peer_odds = (n_bad + PEER_PRIOR_BAD) / (n - n_bad + PEER_PRIOR_N)
    odds = own.n_bad / (own.n - own.n_bad + 0.5)  # half a success: few requests prove little
    if n_bad >= LEAST_SHARE * n:
        return ""  # they all fail: no machine would do better
    is_worse = own.share >= LEAST_SHARE and odds >= TIMES_ODDS * peer_odds
    if own.n_bad < LEAST_BAD or not is_worse:
        return ""
    return f"{words}, of the others' {n_bad:.0f} of {n:.0f}"


def _is_on_its_way(worker: Worker) -> bool:
    """Whether it is set aside already: it drains, and will not simply be stopped."""
    return worker.state is WorkerState.DRAINING and worker.after_drain in (
        AfterDrain.REBOOT,
        AfterDrain.DESTROY,
    )
