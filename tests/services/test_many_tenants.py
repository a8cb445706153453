"""Hundreds of keys wait at once: each is weighed by its share, and none is read for it."""

from __future__ import annotations

from collections import Counter

from chalicelib.services.keys import KeyLimits, issue_key
from chalicelib.services.routing.views import rebuild_view
from fakes.bundles.hot_ports import ENDPOINT_ID, OWN_SOFTWARE
from tests.services.router import Router, make_world, see

N_KEYS, EACH, COST = 400, 8, 100.0
HEAVY = 10.0


def test_each_of_four_hundred_waiting_keys_is_weighed_by_its_share() -> None:
    world = make_world()
    router = Router(world)
    keys = {}
    for n in range(N_KEYS):
        share = HEAVY if n % 10 == 9 else 1.0
        text, _ = issue_key(
            world.ports(),
            name=f"tenant {n}",
            verbs=("route",),
            endpoint_id=ENDPOINT_ID,
            limits=KeyLimits(share=share),
        )
        keys[text] = share
    waiting = []
    for _ in range(EACH):
        for text in keys:
            waiting.append((text, router.idx(router.ask(cost=COST, key=text))))
        world.clock.advance(0.5)
    n_reads = world.keys.calls["find"]
    for i in range(1, 21):
        world.add_worker(i, perf=1_000.0, **OWN_SOFTWARE)
    rebuild_view(world.ports(), ENDPOINT_ID, world.clock.now())
    assert world.keys.calls["find"] == n_reads
    see(world)
    fresh = Router(world)
    granted = Counter(
        keys[text] for text, idx in waiting if "url" in fresh.ask(idx, cost=COST, key=text)
    )
    a_heavy, a_light = granted[HEAVY] / (N_KEYS / 10), granted[1.0] / (N_KEYS * 0.9)
    assert granted[HEAVY] > 0
    assert a_heavy > 5 * a_light
