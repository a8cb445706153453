"""`/route/` over fakes: grants, waiting, repeats, trouble, and how many calls a grant costs."""

from __future__ import annotations

import base64
from collections import Counter

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from chalicelib.core.autogroup import TicketGeneration
from chalicelib.core.endpoint_group import GroupState
from chalicelib.core.routing import AutogroupFacts
from chalicelib.core.worker import WorkerState
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.services.keys import KeyLimits, endpoint_key, issue_key
from chalicelib.services.router_memory import RouterMemory
from chalicelib.services.routing import RouteRefusedError, route
from chalicelib.services.routing_view import rebuild_view
from chalicelib.wire.routing import RouteRequest
from chalicelib.wire.ticket import Claims, split_signature
from fakes.hot_ports import ENDPOINT_ID, ENDPOINT_NAME, HotWorld, make_group


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
    ) -> dict[str, object]:
        request = RouteRequest(
            endpoint=endpoint,
            endpoint_id=None,
            api_key=self.key if key is None else key,
            cost=cost,
            request_idx=idx,
            is_paced=is_paced,
        )
        return route(self.world.ports(), self.memory, request)

    def idx(self, reply: dict[str, object]) -> int:
        value = reply["request_idx"]
        assert isinstance(value, int)
        assert 0 < value < 2**53
        return value


@pytest.fixture
def world() -> HotWorld:
    world = HotWorld()
    world.publish(make_group())
    return world


def see(world: HotWorld) -> None:
    """Rebuild the view, as a report or the scaler would."""
    rebuild_view(world.ports(), ENDPOINT_ID, world.clock.now())


def verify(world: HotWorld, text: bytes, signature: bytes) -> None:
    key = serialization.load_pem_public_key(world.signer.newest().public_pem.encode())
    assert isinstance(key, RSAPublicKey)
    key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())


def test_a_request_is_granted_with_the_fields_that_clients_pass_on(world: HotWorld) -> None:
    worker = world.add_worker(1)
    see(world)
    reply = Router(world).ask(cost=100.0)
    assert reply["url"] == worker.url
    assert (reply["endpoint"], reply["cost"], reply["reqnum"]) == (ENDPOINT_NAME, 100, 1)
    assert reply["request_idx"]
    assert reply["__request_id"]


@pytest.mark.parametrize("generation", list(TicketGeneration))
def test_each_generation_can_verify_its_ticket(
    world: HotWorld, generation: TicketGeneration
) -> None:
    world.add_worker(1, ticket=generation, boot_id="0123456789abcdef")
    see(world)
    reply = Router(world).ask(cost=7.5)
    signature = str(reply["signature"])
    names = {
        "A": ("cost", "endpoint", "reqnum", "url"),
        "B": ("cost", "endpoint", "reqnum", "request_idx", "url"),
        "C": ("url",),
    }
    if generation is TicketGeneration.D:
        blob, raw = split_signature(signature, 256)
        verify(world, blob, raw)
        claims = Claims.from_bytes(blob)
        assert (claims.url, claims.cost, claims.instance_id) == (reply["url"], 7.5, 1)
        assert claims.boot_id == "0123456789abcdef"
        assert claims.issued_at < world.clock.now() + 1 < claims.expires_at
    else:
        import json

        text = json.dumps({name: reply[name] for name in names[generation]}, indent=4).encode()
        verify(world, text, base64.b64decode(signature))


def test_generation_c_is_signed_once_per_worker(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    for _ in range(10):
        router.ask(cost=1)
    assert world.signer.calls["sign"] == 1


@pytest.mark.parametrize("n_workers", [10, 1_000])
def test_a_grant_costs_one_write_and_a_second_one_view_read(
    world: HotWorld, n_workers: int
) -> None:
    for i in range(n_workers):
        world.add_worker(i + 1)
    see(world)
    router = Router(world)
    router.ask(cost=1)  # the first one also learns the directory and the signing key
    for fake in (world.workers, world.views, world.waiting, world.keys):
        fake.calls.clear()
    for _ in range(500):
        assert "url" in router.ask(cost=1)
        world.clock.advance(0.01)
    assert world.workers.calls == Counter(reserve=500)
    assert world.views.calls["read"] <= 5
    assert set(world.views.calls) <= {"read"}
    assert not world.waiting.calls
    assert not world.keys.calls


def test_shares_follow_perf(world: HotWorld) -> None:
    for i, perf in enumerate((100.0, 200.0, 300.0), 1):
        world.add_worker(i, perf=perf, usd_per_hour=perf / 250)
    see(world)
    router = Router(world)
    urls: Counter[object] = Counter()
    for _ in range(1_000):
        urls[router.ask(idx=None, cost=1)["url"]] += 1
        world.clock.advance(1 / 600)  # as much as the three can serve
    shares = sorted(n / 1_000 for n in urls.values())
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.02)


def test_weights_hold_within_one_percent_whatever_the_capacity(world: HotWorld) -> None:
    world.publish(
        make_group(
            autogroups=(
                AutogroupFacts(autogroup_id=70, weight=90),
                AutogroupFacts(autogroup_id=71, weight=10),
            )
        )
    )
    world.add_worker(1, perf=1_000.0)
    world.add_worker(2, perf=100_000.0, autogroup_id=71)
    see(world)
    router = Router(world)
    reqs = Counter(str(router.ask(cost=0.01)["url"]) for _ in range(2_000))
    assert min(reqs.values()) / 2_000 == pytest.approx(0.10, abs=0.01)


def test_a_full_tier_overflows_into_the_next(world: HotWorld) -> None:
    world.publish(
        make_group(
            autogroups=(
                AutogroupFacts(autogroup_id=70, tier=0),
                AutogroupFacts(autogroup_id=71, tier=1),
            )
        )
    )
    first = world.add_worker(1)
    second = world.add_worker(2, autogroup_id=71, perf=10_000.0)
    see(world)
    router = Router(world)
    urls = [router.ask(cost=200)["url"] for _ in range(6)]
    assert urls[:4] == [first.url] * 4  # 0, 2, 4, 6 s of wait
    assert urls[4:] == [second.url] * 2


def test_never_a_worker_that_is_not_ready(world: HotWorld) -> None:
    for i, state in enumerate(WorkerState, 1):
        if state is not WorkerState.READY:
            world.add_worker(i, state=state)
    see(world)
    assert "url" not in Router(world).ask()


def test_a_worker_that_left_since_the_view_was_built_is_not_granted(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    world.add_worker(1, state=WorkerState.DRAINING)
    reply = Router(world).ask()
    assert "url" not in reply
    assert world.workers.rows[ENDPOINT_ID, 1].reqnum == 0


def test_a_worker_that_others_filled_meanwhile_is_passed_over(world: HotWorld) -> None:
    world.add_worker(1, usd_per_hour=0.1)
    second = world.add_worker(2)
    see(world)
    world.add_worker(1, usd_per_hour=0.1, granted_load=1_000.0)
    assert Router(world).ask()["url"] == second.url
    assert world.workers.calls["reserve"] == 2


def test_nobody_free_soon_enough_means_waiting_with_status_place_and_idx(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    replies = [router.ask(cost=300) for _ in range(4)]
    assert [("url" in reply) for reply in replies] == [True, True, True, False]
    waiting = replies[-1]
    assert "total workers: 1" in str(waiting["status"])
    assert waiting["place"] == 1
    assert 0 < float(str(waiting["poll_after_s"])) <= 7
    assert len(world.waiting.rows) == 1
    assert world.poke.pokes


def test_a_polled_request_keeps_its_idx_and_is_remembered_once(world: HotWorld) -> None:
    world.publish(make_group())
    router = Router(world)
    idx = router.idx(router.ask())
    for _ in range(10):
        world.clock.advance(1)
        assert router.idx(router.ask(idx)) == idx
    assert list(world.waiting.rows) == [(ENDPOINT_ID, idx)]
    assert world.waiting.calls["put"] <= 3


def test_a_waiting_request_is_granted_when_a_worker_comes_and_its_row_goes(
    world: HotWorld,
) -> None:
    router = Router(world)
    idx = router.idx(router.ask())
    world.add_worker(1)
    world.clock.advance(1.5)
    see(world)
    assert "url" in router.ask(idx)
    assert not world.waiting.rows


def test_one_shot_clients_are_bound_early_up_to_max_queue_time(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    granted = [("url" in router.ask(idx=None, cost=500)) for _ in range(9)]
    assert granted == [True] * 7 + [False] * 2  # 0, 5, ... 30 s of wait


def test_the_first_repeat_goes_elsewhere_at_once_and_the_second_waits(world: HotWorld) -> None:
    world.add_worker(1)
    world.add_worker(2)
    world.add_worker(3)
    see(world)
    router = Router(world)
    first = router.ask(cost=1)
    second = router.ask(router.idx(first), cost=1)
    third = router.ask(router.idx(second), cost=1)
    assert first["url"] != second["url"]
    assert "url" not in third
    fourth = router.ask(router.idx(third), cost=1)
    assert fourth["url"] != second["url"]
    rows = world.workers.rows.values()
    assert sum(row.granted_load for row in rows) == 3
    assert sum(row.retry_load for row in rows) == 2


def test_a_client_that_hammers_a_dead_worker_gets_few_grants(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    idx, n_grants = 0, 0
    for _ in range(20):
        reply = router.ask(idx, cost=1)
        idx = router.idx(reply)
        n_grants += "url" in reply
    assert n_grants == 1  # there is no other worker


def test_failures_under_one_key_leave_a_worker_ready_under_two_they_do_not(
    world: HotWorld,
) -> None:
    world.add_worker(1, unseen_load=1.0)
    see(world)
    router = Router(world)
    other_key, _ = issue_key(world.ports(), name="b", verbs=("route",), endpoint_id=ENDPOINT_ID)
    for _ in range(5):
        router.ask(router.idx(router.ask(cost=1)), cost=1)
    assert world.workers.rows[ENDPOINT_ID, 1].state is WorkerState.READY
    router.ask(router.idx(router.ask(cost=1, key=other_key)), cost=1, key=other_key)
    assert world.workers.rows[ENDPOINT_ID, 1].state is WorkerState.SUSPECT


@pytest.mark.parametrize("state", [GroupState.SUSPENDED, GroupState.STOPPED])
def test_a_stopped_group_answers_waiting_and_makes_no_demand(
    world: HotWorld, state: GroupState
) -> None:
    world.publish(make_group(state=state))
    world.add_worker(1)
    see(world)
    reply = Router(world).ask()
    assert f"endpoint {state.value}" in str(reply["status"])
    assert not world.waiting.rows
    assert not world.poke.pokes


@pytest.mark.parametrize(
    ("key", "endpoint"),
    [
        ("", ENDPOINT_NAME),
        ("blk.e7-r-own.1." + "A" * 43, ENDPOINT_NAME),
        (None, "no such group"),
    ],
)
def test_wrong_keys_and_unknown_names_get_the_same_answer(
    world: HotWorld, key: str | None, endpoint: str
) -> None:
    with pytest.raises(RouteRefusedError, match="invalid api_key or endpoint NAME not found"):
        Router(world).ask(key=key, endpoint=endpoint)


def test_a_flood_of_bad_keys_costs_no_read(world: HotWorld) -> None:
    router = Router(world)
    for i in range(100):
        with pytest.raises(RouteRefusedError):
            router.ask(key=f"blk.e7-r-{i:x}.1." + "A" * 43)
    assert not world.keys.calls
    assert not world.views.calls


def test_a_key_of_another_group_or_without_the_verb_does_not_route(world: HotWorld) -> None:
    router = Router(world)
    foreign = endpoint_key(world.secrets, 8, 1)
    reader, _ = issue_key(world.ports(), name="r", verbs=("read",))
    for key in (foreign, reader):
        with pytest.raises(RouteRefusedError):
            router.ask(key=key)


def test_an_old_generation_of_the_endpoints_own_key_is_refused(world: HotWorld) -> None:
    world.publish(make_group(key_generation=2))
    with pytest.raises(RouteRefusedError):
        Router(world).ask()


def test_a_key_over_its_quota_waits_without_making_demand(world: HotWorld) -> None:
    world.add_worker(1, perf=1e6)
    see(world)
    key, _ = issue_key(
        world.ports(), name="q", verbs=("route",), limits=KeyLimits(max_requests_per_s=5)
    )
    router = Router(world)
    replies = [router.ask(cost=1, key=key) for _ in range(8)]
    assert sum("url" in reply for reply in replies) == 5
    assert "over the quota" in str(replies[-1]["status"])
    assert not world.waiting.rows
    world.clock.advance(1)
    assert "url" in router.ask(cost=1, key=key)


@pytest.mark.parametrize("broken", ["workers", "views", "waiting", "signer", "secrets"])
def test_transient_trouble_is_answered_waiting_with_an_idx(world: HotWorld, broken: str) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    error = (
        KeysUnavailableError("down")
        if broken in ("signer", "secrets")
        else StorageUnavailableError("throttled")
    )
    getattr(world, broken).failure = error
    if broken == "waiting":
        world.workers.rows.clear()
    reply = router.ask()
    assert "url" not in reply
    assert router.idx(reply)


def test_a_known_view_serves_on_while_views_cannot_be_read(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    router.ask(cost=1)
    world.views.failure = StorageUnavailableError("throttled")
    world.clock.advance(30)
    assert "url" in router.ask(cost=1)


def test_what_this_router_granted_is_not_forgotten_at_a_refresh(world: HotWorld) -> None:
    """A view that was built before our grants does not make their worker look empty."""
    world.add_worker(1, usd_per_hour=0.1)
    world.add_worker(2)
    see(world)
    router = Router(world)
    first = router.ask(cost=300)
    stale = dict(world.views.views)
    world.clock.advance(1.1)
    see(world)
    for key, view in stale.items():  # as if it had been built from rows before the grant
        world.views.views[key] = type(view)(
            shard=view.shard, n_shards=1, built_at=view.built_at + 0.5, blob=view.blob
        )
    second = router.ask(cost=300)
    assert {first["url"], second["url"]} == {world.workers.rows[ENDPOINT_ID, i].url for i in (1, 2)}
