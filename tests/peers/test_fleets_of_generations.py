"""Workers of the vendor's generations, rented like any other, alone and mixed."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import wait_until
from tests.peers.fleet import GENERATION_A, READY_TIMEOUT_S, VENDOR, Fleet, Fleets

ROUTERS_LEARN_TIMEOUT_S = 180.0


def serve(fleet: Fleet, cost: float) -> tuple[int, str]:
    """Route and ask; gives the worker's status and address."""
    ticket = fleet.owner.ticket(fleet.name, cost)
    n_tokens = max(1, int(cost))
    answer = requests.post(
        f"{ticket['url']}/generate",
        json={
            "auth_data": ticket,
            "payload": {"inputs": "x", "parameters": {"max_new_tokens": n_tokens}},
        },
        timeout=90,
    )
    return answer.status_code, ticket["url"]


def test_a_mixed_fleet_serves_every_request(system: LocalSystem, fleets: Fleets) -> None:
    """48 requests over one worker of generation A and one of C, broken costs too: all 200."""
    fleet = fleets.get("peers-mixed", {GENERATION_A: 1, VENDOR: 1})
    fleet.wait_ready(2)
    for autogroup_id, weight in zip(fleet.autogroup_ids, (2.0, 1.0), strict=True):
        fleet.owner.call("PUT", f"/api/v0/autojobs/{autogroup_id}/", {"weight": weight})
    assert wait_until(
        "shares of 1 : 2, once routers know the weights",
        lambda: _shares(fleet) == pytest.approx([16, 32], abs=2),
        ROUTERS_LEARN_TIMEOUT_S,
    )


def _shares(fleet: Fleet) -> list[int]:
    """How many of 48 requests each worker served, fewest first; every one must be answered 200."""
    costs = [(8.0, 20.0, 7.5, 32.0)[i % 4] for i in range(48)]
    with ThreadPoolExecutor(8) as pool:
        served = list(pool.map(lambda cost: serve(fleet, cost), costs))
    assert Counter(status for status, _ in served) == {200: 48}
    return sorted(Counter(url for _, url in served).values())


@pytest.mark.parametrize(
    ("name", "template", "generation"),
    [("peers-vendor", VENDOR, "C"), ("peers-a", GENERATION_A, "A")],
)
def test_reports_of_each_generation_are_understood(
    fleets: Fleets, name: str, template: Any, generation: str
) -> None:
    """A rented worker becomes ready by its own reports, which tell its ticket and its speed."""
    fleet = fleets.get(name, {template: 2 if name == "peers-vendor" else 1})
    for row in fleet.wait_ready(1):
        assert row["ticket"] == generation
        assert 100 < float(str(row["measured_perf"])) < 100_000


def test_reports_of_vendor_workers_scale_the_group(system: LocalSystem, fleets: Fleets) -> None:
    """Traffic on one ready generation-C worker makes the group rent a second one."""
    fleet = fleets.get("peers-scaling", {VENDOR: 1})
    fleet.wait_ready(1)
    fleet.owner.call(
        "PUT",
        f"/api/v0/endptjobs/{fleet.endpoint_id}/",
        {"min_load": 1.0, "max_workers": 3, "target_util": 0.3},
    )
    with ThreadPoolExecutor(30) as pool:
        wanted = wait_until(
            "a second worker",
            lambda: _press(fleet, pool) and len(fleet.owner.workers(fleet.endpoint_id)) > 1,
            READY_TIMEOUT_S,
            shown=lambda: fleet.owner.workers(fleet.endpoint_id),
        )
    assert wanted


def _press(fleet: Fleet, pool: ThreadPoolExecutor) -> bool:
    """One burst of requests; those that must wait are not asked again."""
    body = {"endpoint": fleet.name, "api_key": fleet.system.account_key, "cost": 400}

    def one(_: int) -> None:
        ticket = requests.post(f"{fleet.system.url}/route/", json=body, timeout=30).json()
        if "url" in ticket:
            payload = {"inputs": "x", "parameters": {"max_new_tokens": 400}}
            requests.post(
                f"{ticket['url']}/generate",
                json={"auth_data": ticket, "payload": payload},
                timeout=90,
            )

    list(pool.map(one, range(30)))
    return True
