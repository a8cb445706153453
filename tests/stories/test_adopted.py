"""Tables are lost, machines are not: they serve on, and none goes before the owner has spoken."""

from __future__ import annotations

from chalicelib.core.fleet.troubles import standing
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from fakes.worlds.world import World
from tests.api.over_fakes import Api
from tests.api.test_observability import make_worker
from tests.faults.stories import in_state, run_rounds, serving_world, set_group


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
            world.workers.update(row.endpoint_id, row.instance_id, {"is_unconfirmed": False})


def test_adopted_machines_serve_bill_and_stay_until_confirmed() -> None:
    """Demand ends and a host dies: nothing of it destroys what a label alone names."""
    world, endpoint_id = serving_world(2)
    machines = set(world.market.instances)
    lose_tables(world)
    run_rounds(world, 6)
    assert set(in_state(world, WorkerState.READY)) == machines
    assert "2 instances were found by their labels" in told(world)["adopted_unconfirmed"]
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
    assert api.call("POST", "/api/v0/adopt", {"instance_ids": [41]}).json["n_confirmed"] == 1
    assert api.call("GET", "/api/v0/adopt").json["instances"] == []
