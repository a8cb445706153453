"""The scaler tallies what its workers cost; a month's spend is one query for each group."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.money.account import DAY_S, Account
from chalicelib.core.money.spend import PARTS, spend_scope, total_usd
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.services.keys import Caller
from chalicelib.services.owner.views.spending import (
    AWS_USD_PER_ACTIVE_S,
    AWS_USD_PER_IDLE_S,
    AWS_USD_PER_REQUEST,
    AWS_USD_PER_WORKER_S,
    aws_estimate,
    read_spend,
    read_tallies,
)
from chalicelib.services.owner.views.status import read_status
from chalicelib.services.rounds.loop import scaling_loop
from fakes.ports.ledger import FakeLedger
from fakes.worlds.world import NOON, World
from lab.bench.cost import (
    Assumptions,
    active_month,
    idle_month,
    load_prices,
    per_million_requests,
    worker_month,
)
from tests.faults.stories import run_rounds, serving_world, set_group

OWNER = Caller(key_id="k", verbs=frozenset({"read"}), endpoint_id=None, generation=1)


def memory_of(world: World) -> RoundMemory:
    return RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))


def test_what_is_tallied_is_what_the_market_bills() -> None:
    world, endpoint_id = serving_world(2)
    before = memory_of(world).spend[str(endpoint_id)]
    from_at = world.ledger.account().booked_at
    run_rounds(world, 10)
    after = memory_of(world).spend[str(endpoint_id)]
    hours = (world.ledger.account().booked_at - from_at) / 3600
    machines = world.market.instances.values()
    expected = {
        "gpu_usd": sum(machine.rate.gpu_usd_per_hour for machine in machines) * hours,
        "disk_usd": sum(machine.rate.storage_usd_per_hour for machine in machines) * hours,
        # 1 GB an hour each way
        "bandwidth_usd": sum(2 * m.machine.inet_usd_per_gb for m in machines) * hours,
        "download_usd": 0.0,  # these workers came up before
    }
    for part in PARTS:
        names = [name for name in after if name.startswith(f"{part}:")]
        grown = sum(after[name] - before.get(name, 0.0) for name in names)
        assert grown == pytest.approx(expected[part])


def test_a_tally_is_one_item_a_day_written_again_each_hour() -> None:
    world, endpoint_id = serving_world(1)
    run_rounds(world, 30, every_s=300.0)  # two and a half hours
    items = world.owner_ports.series.read(spend_scope(endpoint_id), 0, 10**9)
    ((minute, tally),) = items
    assert minute == int(tally["begun_at"] // 60)
    assert 2 * 3600 <= tally["until"] - tally["begun_at"] <= world.now - NOON
    assert total_usd([tally]) > 0


def test_midnight_begins_a_new_item_and_a_lost_memory_loses_no_day() -> None:
    world, endpoint_id = serving_world(1)
    run_rounds(world, 28, every_s=1800.0)  # from noon to past one in the night
    items = world.owner_ports.series.read(spend_scope(endpoint_id), 0, 10**9)
    days = {int(tally["begun_at"] // DAY_S) for _, tally in items}
    assert len(days) == 2
    yesterday = items[0][1]
    assert yesterday["until"] % DAY_S == 0
    fence = world.ledger.take_lease("test", world.now, 1.0)
    assert fence is not None
    world.ledger.write_blob(fence.fence, BLOB_NAME, RoundMemory().to_bytes())
    world.tick(5)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    found = read_tallies(
        world.owner_ports.series, memory_of(world).spend, endpoint_id, (0.0, world.now)
    )
    assert found[0] == yesterday
    assert len(found) == 3  # the item of before, and the new memory's


def test_an_idle_group_tallies_and_writes_nothing() -> None:
    world = World(account=Account())
    group = world.add_group(min_load=0.0, cold_workers=0)
    for autogroup in world.owner_ports.groups.list_autogroups(group.endpoint_id):
        world.owner_ports.groups.remove_autogroup(autogroup.autogroup_id)
    run_rounds(world, 30, every_s=600.0)
    assert memory_of(world).spend == {}
    assert list(world.owner_ports.series.read(spend_scope(group.endpoint_id), 0, 10**9)) == []


def test_spend_is_told_by_day_autogroup_and_worker_with_the_same_total() -> None:
    world, endpoint_id = serving_world(2)
    run_rounds(world, 40, every_s=300.0)
    ports = world.owner_ports
    answers = {by: read_spend(ports, OWNER, endpoint_id, 2, by) for by in ("day", "worker")}
    answers["autogroup"] = read_spend(ports, OWNER, None, 2, "autogroup")
    rows = {by: answer["rows"] for by, answer in answers.items()}
    totals = {by: sum(row["total_usd"] for row in found) for by, found in rows.items()}  # type: ignore[attr-defined]
    assert totals["day"] == pytest.approx(totals["worker"])
    assert totals["day"] == pytest.approx(totals["autogroup"])
    assert totals["day"] > 0
    month = answers["day"]["month"]
    assert isinstance(month, dict)
    assert month["so_far_usd"] == pytest.approx(totals["day"])
    assert month["forecast_usd"] > month["so_far_usd"]
    fleet = answers["day"]["fixed_fleet"]
    assert isinstance(fleet, dict)
    assert fleet["n_workers"] >= 2


def test_what_is_counted_is_no_less_than_what_is_likely() -> None:
    world, endpoint_id = serving_world(2)
    run_rounds(world, 60, every_s=300.0)
    tally = memory_of(world).spend[str(endpoint_id)]
    traffic = sum(usd for name, usd in tally.items() if name.startswith("bandwidth_usd:"))
    assert traffic > 0
    assert world.ledger.account().spent_today_microusd / 1e6 >= total_usd([tally]) - 1e-4


def test_no_month_is_foretold_by_its_first_minutes() -> None:
    world, endpoint_id = serving_world(1)
    answer = read_spend(world.owner_ports, OWNER, endpoint_id, 1)["month"]
    assert isinstance(answer, dict)
    assert answer["so_far_usd"] > 0
    assert answer["forecast_usd"] is None
    run_rounds(world, 13, every_s=300.0)
    answer = read_spend(world.owner_ports, OWNER, endpoint_id, 1)["month"]
    assert isinstance(answer, dict)
    assert answer["forecast_usd"] > answer["so_far_usd"]


def test_a_deleted_groups_spend_stays_in_view_and_is_marked() -> None:
    world, endpoint_id = serving_world(2)
    set_group(world, endpoint_id, state=GroupState.DELETING)
    while world.owner_ports.groups.list_groups():
        run_rounds(world, 1)
    run_rounds(world, 2)
    ports = world.owner_ports
    today = read_status(ports, OWNER, world.now)["account"]
    answer = read_spend(ports, OWNER, None, 31, "day")
    assert isinstance(today, dict)
    rows = answer["rows"]
    assert isinstance(rows, list)
    (row,) = rows
    assert (row["endpoint_id"], row["is_deleted"]) == (endpoint_id, True)
    assert row["endpoint_name"] == "llm"
    assert row["total_usd"] == pytest.approx(today["spent_today_usd"])
    assert row["total_usd"] > 0
    run_rounds(world, 30, every_s=1800.0)  # into the next day: the memory has forgotten it
    assert memory_of(world).spend == {}
    answer = read_spend(ports, OWNER, endpoint_id, 31, "worker")
    assert {line["endpoint_name"] for line in answer["rows"]} == {"llm"}  # type: ignore[attr-defined]
    stranger = replace(OWNER, endpoint_id=endpoint_id + 1)
    assert read_spend(ports, stranger, None, 31)["rows"] == []


def test_a_fixed_fleet_downloads_once_and_runs_as_long() -> None:
    world, endpoint_id = serving_world(2)
    run_rounds(world, 40, every_s=300.0)
    ports = world.owner_ports
    (tally,) = read_tallies(ports.series, memory_of(world).spend, endpoint_id, (0.0, world.now))
    keys = [name.partition(":")[2] for name in tally if name.startswith("gpu_usd:")]
    n_workers, hourly_usd = tally["max_ready"], total_usd([tally]) / tally["ready_s"]
    with_downloads = {**tally, **{f"download_usd:{key}": 0.5 for key in keys}}
    ports.series.put(spend_scope(endpoint_id), int(tally["begun_at"] // 60), with_downloads)
    forgetful = replace(ports, ledger=FakeLedger())
    fleet = read_spend(forgetful, OWNER, endpoint_id, 1)["fixed_fleet"]
    assert isinstance(fleet, dict)
    lasted_s = world.now - tally["begun_at"]
    assert fleet["usd"] == pytest.approx(n_workers * (hourly_usd * lasted_s + 0.5))


def test_a_month_of_spend_is_one_read_for_each_group() -> None:
    world, _ = serving_world(1)
    world.add_group("second")
    run_rounds(world, 5)
    reads: list[str] = []
    series = world.owner_ports.series

    class Counting:
        """The series, counting what is read."""

        def read(self, scope: str, first: int, last: int) -> object:
            reads.append(scope)
            return series.read(scope, first, last)

    ports = replace(world.owner_ports, series=Counting())  # type: ignore[arg-type]
    for by in ("day", "autogroup", "worker"):
        reads.clear()
        read_spend(ports, OWNER, None, 31, by)
        assert len(reads) == 2


def test_the_aws_estimates_are_those_of_the_cost_model() -> None:
    prices, assumptions, month_s = load_prices(), Assumptions(), 30 * DAY_S
    model = {
        AWS_USD_PER_REQUEST: per_million_requests(prices, assumptions)["wrapped"]["HTTP API"] / 1e6,
        AWS_USD_PER_WORKER_S: worker_month(prices, assumptions) / month_s,
        AWS_USD_PER_ACTIVE_S: active_month(prices, assumptions) / month_s,
        AWS_USD_PER_IDLE_S: sum(idle_month(prices, assumptions).values()) / month_s,
    }
    for estimate, modelled in model.items():
        assert estimate == pytest.approx(modelled, rel=0.05)


def test_the_aws_estimate_grows_with_requests() -> None:
    quiet = aws_estimate([{"n_requests": 0.0}], DAY_S)
    busy = aws_estimate([{"n_requests": 1e6}], DAY_S)
    assert busy - quiet == pytest.approx(1e6 * AWS_USD_PER_REQUEST)
