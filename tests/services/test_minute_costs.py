"""What a minute cost is written beside its figures: GPUs, disks and, as an estimate, traffic."""

from __future__ import annotations

import pytest

from tests.faults.stories import run_rounds, serving_world


def test_the_series_of_a_minute_says_what_gpus_disks_and_traffic_cost() -> None:
    world, endpoint_id = serving_world(2)
    run_rounds(world, 10)
    machines = world.market.instances.values()
    autogroup = world.owner_ports.groups.list_autogroups(endpoint_id)[0]
    last = int(world.now // 60) - 2  # surely over and written
    for scope in (f"endpoint:{endpoint_id}", f"autogroup:{autogroup.autogroup_id}"):
        ((_, minute),) = world.owner_ports.series.read(scope, last, last)
        assert minute["gpu_usd"] == pytest.approx(
            sum(machine.rate.gpu_usd_per_hour for machine in machines) / 60
        )
        assert minute["disk_usd"] == pytest.approx(
            sum(machine.rate.storage_usd_per_hour for machine in machines) / 60
        )
        # 1 GB an hour each way
        assert minute["bandwidth_estimate_usd"] == pytest.approx(
            sum(2 * machine.machine.inet_usd_per_gb for machine in machines) / 60
        )
