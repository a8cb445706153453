"""One router over a world of fakes, asked as clients ask."""

from __future__ import annotations

from chalicelib.services.keys import endpoint_key
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.route import route
from chalicelib.services.routing.views import rebuild_view
from chalicelib.wire.routing import RouteRequest
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME, HotWorld, make_group
from fakes.ports.signer import FakeSigner, UncheckedSigner


def make_world(*, reads_tickets: bool = True) -> HotWorld:
    """An active group without workers; `reads_tickets`: somebody checks signatures."""
    world = HotWorld(signer=FakeSigner() if reads_tickets else UncheckedSigner())
    world.publish(make_group())
    return world


class Router:
    """One router over a world, asked as clients ask."""

    def __init__(self, world: HotWorld) -> None:
        self.world = world
        self.memory = RouterMemory()
        self.key = endpoint_key(world.secrets, ENDPOINT_ID, 1)

    def ask(
        self,
        idx: int | None = 0,
        cost: float = 100,
        *,
        key: str | None = None,
        endpoint: str | None = ENDPOINT_NAME,
        is_paced: bool = False,
        affinity: tuple[str, ...] = (),
        prefix_cost: tuple[float, ...] | None = None,
        insists: bool = False,
    ) -> dict[str, object]:
        request = RouteRequest(
            endpoint=endpoint,
            endpoint_id=None,
            api_key=self.key if key is None else key,
            cost=cost,
            request_idx=idx,
            is_paced=is_paced,
            affinity=affinity,
            prefix_cost=prefix_cost,
            takes_interruptible=not insists,
        )
        return route(self.world.ports(), self.memory, request)

    def idx(self, reply: dict[str, object]) -> int:
        value = reply["request_idx"]
        assert isinstance(value, int)
        assert 0 < value < 2**53
        return value


def see(world: HotWorld) -> None:
    """Rebuild the view, as a report or the scaler would."""
    rebuild_view(world.ports(), ENDPOINT_ID, world.clock.now())
