"""What a minute's series say of a group and of each of its autogroups."""

from __future__ import annotations

import pytest

from fakes.worlds.world import World
from tests.faults.stories import run_rounds, serving_world

PROMISED = {
    "nworkers", "totreqs", "curload", "capacity", "reliable", "reqrate",
    "queue_time_s", "late_share", "usd_per_hour", "cold_capacity", "arriving_load", "conflicts",
}  # fmt: skip


def minutes_of(world: World, scope: str) -> dict[int, dict[str, float]]:
    last = int(world.now // 60)
    rows = world.owner_ports.series.read(scope, last - 10, last)
    return {minute: dict(values) for minute, values in rows}


def test_groups_and_autogroups_have_every_promised_series_and_the_parts_make_the_whole() -> None:
    world, endpoint_id = serving_world(2)
    first = world.owner_ports.groups.list_autogroups(endpoint_id)[0]
    second = world.add_autogroup(endpoint_id, weight=0.0)
    for _ in range(12):
        world.ask(endpoint_id, 3)
        run_rounds(world, 1)
    whole = minutes_of(world, f"endpoint:{endpoint_id}")
    parts = [minutes_of(world, f"autogroup:{one.autogroup_id}") for one in (first, second)]
    served = [minute for minute in whole if whole[minute]["n_started"] > 0]
    assert served
    for minute in served:
        assert whole[minute].keys() >= PROMISED
        assert parts[0][minute].keys() >= PROMISED
        for name in ("n_started", "nworkers", "capacity"):
            total = sum(part.get(minute, {}).get(name, 0.0) for part in parts)
            assert total == pytest.approx(whole[minute][name])


def test_an_autogroup_without_ready_workers_has_no_queue_time_to_compare() -> None:
    world, endpoint_id = serving_world(1)
    autogroup_id = world.owner_ports.groups.list_autogroups(endpoint_id)[0].autogroup_id
    for process in world.processes.values():
        process.error = "CUDA error"
    run_rounds(world, 6, every_s=20.0)
    for values in minutes_of(world, f"autogroup:{autogroup_id}").values():
        assert ("queue_time_s" in values) == (values["ready"] > 0)
