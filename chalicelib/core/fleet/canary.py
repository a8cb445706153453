"""Canaries: whether a new autogroup fails or delays more requests than those it stands beside.

Wald's sequential probability ratio test (1945) after every round: each request of the new autogroup
adds to a score the logarithm of how much likelier its outcome is under a regression than under the
others' own rate. A score above ln 115 happens to a healthy canary in less than one of a hundred
lives, however often one looks. The score is kept above a floor, so that a regression that comes
late is still seen soon. Errors are known of our own worker only: the vendor's reports a model's
error 500 as success.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.worker import Worker

LIMIT = math.log(115.0)  # Wald: less than 1 wrong rollback in 115 tests (scaling.md 7)
FLOOR = -8.0  # scaling.md 7: good hours count for no more than this later
WATCHED_S = 7 * 86_400.0  # after this an autogroup is no news any more
PRIOR_N = 250.0  # requests that the prior of the others' rate is worth
LEAST_RATE = 0.002  # of errors, and of late requests, that is nobody's fault


@dataclass(frozen=True, kw_only=True, slots=True)
class Symptom:
    """What a regression looks like: the share of requests added, and what one outcome weighs."""

    name: str
    counter: int  # where its pair of counters begins
    added_share: float
    weight: float = 1.0  # below 1 where outcomes come in bursts and are no independent evidence


# scaling.md 7: three points more than the others.
ERRORS = Symptom(name="errors", counter=0, added_share=0.03)
# scaling.md 7: lateness comes in bursts, so a tenth of the weight.
LATENESS = Symptom(name="lateness", counter=2, added_share=0.25, weight=0.1)
SYMPTOMS = (ERRORS, LATENESS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Requests and how many of them went wrong."""

    n: float = 0.0
    n_bad: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """What is known of a group's canary; kept from round to round as plain JSON."""

    autogroup_id: int
    scores: Mapping[str, float] = field(default_factory=dict)  # by symptom
    others: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # n, n_bad by symptom
    canary: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seen: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # counters by instance

    @property
    def symptom(self) -> str:
        """The regression that is proven, or ""."""
        return next((name for name, score in self.scores.items() if score >= LIMIT), "")


def find_canary(autogroups: Iterable[Autogroup], now: float) -> Autogroup | None:
    """The newest autogroup that takes requests beside an older one, while it is new."""
    serving = [a for a in autogroups if a.state is AutogroupState.ACTIVE and a.weight > 0]
    newest = max(serving, key=lambda a: (a.created_at, a.autogroup_id), default=None)
    if newest is None or now - newest.created_at > WATCHED_S:
        return None
    return newest if any(a.created_at < newest.created_at for a in serving) else None


def watch_canary(before: Watch | None, canary: Autogroup, workers: Sequence[Worker]) -> Watch:
    """The watch after one more round; a worker seen for the first time counts from now on."""
    if before is None or before.autogroup_id != canary.autogroup_id:
        before = Watch(autogroup_id=canary.autogroup_id)
    own = [worker for worker in workers if worker.autogroup_id == canary.autogroup_id]
    rest = [worker for worker in workers if worker.autogroup_id != canary.autogroup_id]
    others, tested, scores = {}, {}, {}
    for symptom in SYMPTOMS:
        name = symptom.name
        new = _news(own, before.seen, symptom)
        others[name] = _added(before.others.get(name), _news(rest, before.seen, symptom))
        tested[name] = _added(before.canary.get(name), new)
        past = Counts(n=others[name][0], n_bad=others[name][1])
        scores[name] = next_score(before.scores.get(name, 0.0), new, past, symptom)
    return Watch(
        autogroup_id=canary.autogroup_id,
        scores=scores,
        others=others,
        canary=tested,
        seen={str(worker.instance_id): _counters(worker) for worker in workers},
    )


def next_score(score: float, new: Counts, others: Counts, symptom: Symptom) -> float:
    """The score after some more requests of the canary; once proven it stays."""
    if score >= LIMIT:
        return score
    rate = (others.n_bad + LEAST_RATE * PRIOR_N) / (others.n + PRIOR_N)
    healthy = min(max(rate, LEAST_RATE), 0.7)
    worse = healthy + symptom.added_share
    n_bad = min(new.n_bad, new.n)
    step = n_bad * math.log(worse / healthy)
    step += (new.n - n_bad) * math.log((1.0 - worse) / (1.0 - healthy))
    return max(score + symptom.weight * step, FLOOR)


def _news(
    workers: Iterable[Worker], seen: Mapping[str, Sequence[float]], symptom: Symptom
) -> Counts:
    """What the workers' counters of a symptom grew by since they were seen."""
    n = n_bad = 0.0
    for worker in workers:
        known = seen.get(str(worker.instance_id))
        if known is not None:
            grown = [_grown(*pair) for pair in zip(known, _counters(worker), strict=True)]
            n += grown[symptom.counter]
            n_bad += grown[symptom.counter + 1]
    return Counts(n=n, n_bad=n_bad)


def _counters(worker: Worker) -> tuple[float, ...]:
    """Pairs of (all, bad), in the order of the symptoms' `counter`."""
    n_ended = worker.n_served + worker.n_errored
    return float(n_ended), float(worker.n_errored), float(worker.reqnum), float(worker.n_late)


def _grown(before: float, after: float) -> float:
    """How much a counter grew; one that fell began anew with the worker's process."""
    return after - before if after >= before else after


def _added(before: Sequence[float] | None, new: Counts) -> tuple[float, float]:
    n, n_bad = before or (0.0, 0.0)
    return n + new.n, n_bad + new.n_bad
