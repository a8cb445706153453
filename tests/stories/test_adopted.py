"""Tables are lost, machines are not: they serve on, and none goes before the owner has spoken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chalicelib.core.fleet.troubles import standing
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.services.market.panic import panic
from chalicelib.services.owner import brakes
from fakes.worlds.world import World
from tests.api.over_fakes import Api
from tests.api.test_observability import make_worker
from tests.faults.stories import in_state, run_rounds, serving_world, set_group
from tests.stories.day import OWNER


def lose_tables(world: World) -> None:
    world.workers.rows.clear()
    world.ledger.by_token.clear()
    world.ledger._blobs.clear()


def told(world: World) -> dict[str, str]:
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    return {one.kind: one.message for one in standing(memory.troubles, world.now)}


def confirm(world: World, *instance_ids: int) -> None:
    for row in list(world.workers.rows.values()):
        if row.instance_id in instance_ids:
            world.workers.update(row.endpoint_id, row.instance_id, {"is_confirmed": True})


def test_adopted_machines_serve_bill_and_stay_until_confirmed() -> None:
    """Demand ends and a host dies: nothing of it destroys what a label alone names."""
    world, endpoint_id = serving_world(2)
    machines = set(world.market.instances)
    lose_tables(world)
    run_rounds(world, 6)
    assert set(in_state(world, WorkerState.READY)) == machines
    assert "2 instances found by label alone" in told(world)["adopted_unconfirmed"]
    world.ask(endpoint_id, 1)
    run_rounds(world, 2)
    assert world.n_waiting == 0
    assert world.ledger.account().committed_microusd_per_hour > 0
    set_group(world, endpoint_id, params=world.add_group("other", min_load=0.0).params)
    dead = min(machines)
    world.market.lives.lose_machine(world.market.instances[dead].machine.machine_id, world.now)
    run_rounds(world, 60, every_s=30.0)
    assert set(world.market.instances) >= machines
    confirm(world, *machines)
    run_rounds(world, 20, every_s=30.0)
    assert dead not in world.market.instances
    assert "adopted_unconfirmed" not in told(world)


def test_a_panic_returns_adopted_machines_too() -> None:
    world, _ = serving_world(2)
    lose_tables(world)
    run_rounds(world, 6)
    world.ledger.set_flags(is_panicking=True)
    run_rounds(world, 12)
    assert not world.market.instances


def test_the_owner_confirms_by_the_api_what_it_shows() -> None:
    api = Api()
    group = api.create_endpoint("llm")
    make_worker(api, 41, endpoint_id=group, is_unconfirmed=True)
    make_worker(api, 42, endpoint_id=group)
    shown = api.call("GET", "/api/v0/adopt").json["instances"]
    assert [row["instance_id"] for row in shown] == [41]
    for bad in ([], [42], [41, 43], "41", [True], None):
        assert api.call("POST", "/api/v0/adopt", {"instance_ids": bad}).status == 400
    for ours in (False, "no", 1):  # its label would only be adopted again
        body = {"instance_ids": [41], "ours": ours}
        assert api.call("POST", "/api/v0/adopt", body).status == 400
    assert api.call("POST", "/api/v0/adopt", {"instance_ids": [41]}).json["n_confirmed"] == 1
    assert api.call("GET", "/api/v0/adopt").json["instances"] == []


def relabel(world: World, label: str) -> int:
    """Somebody edits the label of one of our machines; gives its id."""
    instance_id = min(world.market.instances)
    world.market.instances[instance_id].label = label
    return instance_id


@pytest.mark.parametrize("label", ["my training run", ""])
def test_a_machine_under_another_label_serves_bills_is_told_and_stays(label: str) -> None:
    """Its group has nothing to do, then is deleted: a row alone destroys nothing."""
    world, endpoint_id = serving_world(2)
    instance_id = relabel(world, label)
    run_rounds(world, 12, every_s=15.0)
    assert f"the label is back: {instance_id}" in told(world)["label_changed"]
    assert instance_id in in_state(world, WorkerState.READY)
    assert world.ledger.account().committed_microusd_per_hour > 0
    set_group(world, endpoint_id, state=GroupState.DELETING)
    run_rounds(world, 40, every_s=30.0)
    assert set(world.market.instances) == {instance_id}
    assert world.ports.groups.list_groups()  # not forgotten as long as it bills
    confirm(world, instance_id)
    run_rounds(world, 20, every_s=30.0)
    assert not world.market.instances
    assert not world.ports.groups.list_groups()


def test_a_label_that_comes_back_needs_no_owner() -> None:
    world, endpoint_id = serving_world(2)
    own = world.market.instances[min(world.market.instances)].label
    instance_id = relabel(world, "")
    set_group(world, endpoint_id, state=GroupState.DELETING)
    run_rounds(world, 20, every_s=30.0)
    assert instance_id in world.market.instances
    world.market.instances[instance_id].label = own
    run_rounds(world, 20, every_s=30.0)
    assert not world.market.instances


def test_a_panic_leaves_and_names_what_another_label_claims() -> None:
    world, _ = serving_world(2)
    instance_id = relabel(world, "my training run")
    world.ledger.set_flags(is_panicking=True)
    run_rounds(world, 12)
    assert set(world.market.instances) == {instance_id}
    report = panic(world.ports)
    assert (report.is_verified, report.unjudged) == (False, (instance_id,))
    asked: list[list[int]] = []

    def choose(records: Sequence[InstanceRecord]) -> list[int]:
        asked.append([record.instance_id for record in records])
        return asked[-1]

    assert panic(world.ports, choose=choose).is_verified
    assert asked == [[instance_id]]
    world.market.advance(world.now)
    assert not world.market.instances


def test_a_machine_of_the_owners_that_vast_named_by_mistake_is_never_touched_and_disowned() -> None:
    """It never reports: nothing stops, reboots or destroys it, and a substitute is rented."""
    world = World(seed=2)
    group = world.add_group(max_workers=3)
    body = {"client_id": "me", "image": "own:1", "label": "my own", "disk": 16}
    offer = world.market.offers.search({"gpu_name": {"eq": "RTX 3090"}}, world.now)[0]
    own = world.market.create(int(str(offer["id"])), body, world.now)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 2)
    (row,) = list(world.workers.rows.values())
    world.workers.remove(row.endpoint_id, row.instance_id)
    unheard = replace(row, instance_id=own.instance_id, reported_at=0.0, loaded_at=0.0, url="")
    world.workers.add(replace(unheard, state=WorkerState.CREATING))
    run_rounds(world, 240, every_s=15.0)
    assert world.n_waiting == 0
    assert own.instance_id in world.market.instances
    assert own.intended_status == "running"
    assert "label_changed" in told(world)
    done = brakes.settle_unconfirmed(world.owner_ports, OWNER, [own.instance_id], are_ours=False)
    assert done == 1
    run_rounds(world, 4)
    assert "label_changed" not in told(world)
    assert own.instance_id not in {row.instance_id for row in world.workers.rows.values()}
