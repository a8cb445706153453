"""Who asks once and never again has no place in the queue; who goes on asking keeps his."""

from __future__ import annotations

from chalicelib.core.routing.queue_place import CONFIRMED_BY_S
from tests.services.router import Router, make_world, see


def test_a_request_that_never_asks_again_leaves_the_queue() -> None:
    """Fifty first polls of a stranger, and one client behind them that asks each second."""
    world = make_world()
    see(world)
    router = Router(world)
    for _ in range(50):
        router.ask(0)
    world.clock.advance(1.1)
    see(world)
    reply = router.ask(0)
    assert reply["place"] == 51
    for _ in range(int(CONFIRMED_BY_S) + 3):
        world.clock.advance(1.1)
        see(world)
        reply = router.ask(router.idx(reply))
    assert reply["place"] == 1
    assert len(world.waiting.rows) == 51, "the rows are still there, and count for nobody's turn"
