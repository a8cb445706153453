"""Grants: who gets a request, with which ticket, and how many calls that costs."""

from __future__ import annotations

import base64
import json
from collections import Counter

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.routing.table import AutogroupFacts
from chalicelib.services.routing.route import MAX_TRIES
from chalicelib.wire.ticket import Claims, split_signature
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME, HotWorld, make_group
from tests.services.router import Router, make_world, see


@pytest.fixture
def world() -> HotWorld:
    return make_world()


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
        # The marketplace's own benchmark vouches for machines that differ.
        world.add_worker(i, perf=perf, usd_per_hour=perf / 250, dlperf=perf, gpu_name=f"GPU {i}")
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
    assert urls[:3] == [first.url] * 3  # 0, 2, 4 s of wait
    assert urls[3:] == [second.url] * 3


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


def test_refusals_are_counted_with_the_grant_that_follows(world: HotWorld) -> None:
    world.add_worker(1, usd_per_hour=0.1)
    world.add_worker(2)
    see(world)
    world.add_worker(1, usd_per_hour=0.1, granted_load=1_000.0)
    Router(world).ask()
    assert [row.n_refused for row in world.workers.rows.values()] == [0, 1]


def test_a_check_that_keeps_failing_ends_in_a_grant_after_bounded_tries(world: HotWorld) -> None:
    """Others are always faster: the last try asks only whether the worker is ready."""
    for i in range(1, 30):
        world.add_worker(i)
    see(world)
    for i in range(1, 30):
        world.add_worker(i, granted_load=1_000.0)
    assert "url" in Router(world).ask()
    assert world.workers.calls["reserve"] == MAX_TRIES + 1


def test_workers_that_all_left_end_in_a_waiting_answer_after_bounded_tries(world: HotWorld) -> None:
    for i in range(1, 30):
        world.add_worker(i)
    see(world)
    world.workers.rows.clear()
    assert "url" not in Router(world).ask()
    assert world.workers.calls["reserve"] == MAX_TRIES + 1


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
