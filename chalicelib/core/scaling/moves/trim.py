"""Over max_workers: who goes when the owner lowers it. Pure.

A lowered cap is a wish, not only a bar to new rentals: the fleet comes down to it. What serves is
kept before what is cold, and what is cold before what may never come up; who serves drains first.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.core.model.worker import AfterDrain
from chalicelib.core.scaling.actions import Action, DestroyWorker, DrainWorker
from chalicelib.core.scaling.moves.hot_pool import DRAIN_DEADLINE_S
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.occupancy import is_idle
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.core.scaling.snapshot import WorkerFacts

_LEAVES_AT_ONCE = (
    "broken",
    "lost",
    "unreachable",
    "refused",
    "paused",
    "booting",
    "stopped",
    "starting",
)
"""Parts of a pool that are of no use now, in the order in which they go."""


def plan_trim(pools: Sequence[Pool], ctx: Round) -> list[Action]:
    """Returns until no more than max_workers are held, least useful first.

    Rentals that are not settled yet are no machines to return; they count once they are.
    """
    if not ctx.may_destroy():
        return []
    most = ctx.snapshot.group.params.max_workers
    held = [w for pool in pools for w in _held(pool)]
    n_over = len(held) - most
    pools = [pool for pool in pools if not pool.is_foreign]
    if n_over <= 0:
        return []
    reason = Reason(
        code=ReasonCode.OVER_MAX_WORKERS, facts={"held": len(held), "max_workers": most}
    )
    actions: list[Action] = []
    for part in _LEAVES_AT_ONCE:
        for worker in _dearest_first([w for pool in pools for w in getattr(pool, part)], ctx):
            actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
    draining = [w for pool in pools for w in pool.draining if not _goes_anyway(w)]
    serving = [*draining, *(w for pool in pools for w in pool.silent + pool.ready)]
    serving = _dearest_first(serving, ctx)
    serving.sort(key=lambda w: (w.after_drain is None, not is_idle(w)))  # who drains already first
    actions += [
        DrainWorker(
            instance_id=worker.instance_id,
            then=AfterDrain.DESTROY,
            deadline_s=DRAIN_DEADLINE_S,
            reason=reason,
        )
        for worker in serving
    ]
    return actions[:n_over]


def _held(pool: Pool) -> list[WorkerFacts]:
    """All but those on their way out, whether destroyed, or drained to be destroyed."""
    return [
        worker
        for part in (*_LEAVES_AT_ONCE, "stopping", "draining", "silent", "ready", "foreign")
        for worker in getattr(pool, part)
        if not _goes_anyway(worker)
    ]


def _goes_anyway(worker: WorkerFacts) -> bool:
    return worker.after_drain == AfterDrain.DESTROY


def _dearest_first(workers: Sequence[WorkerFacts], ctx: Round) -> list[WorkerFacts]:
    return sorted(workers, key=lambda w: (-ctx.usd_per_load_kept(w), w.instance_id))
