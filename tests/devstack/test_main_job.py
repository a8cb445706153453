"""The main job, end to end, over HTTP: rent, load, route, serve, return."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from devstack.local_system import LocalSystem
from devstack.owner import MarketView, Owner, wait_until
from devstack.templates import TGI_SIMULATED, register_templates

ONE_WORKER = {"min_load": 1.0, "cold_workers": 0, "max_workers": 1}
READY_TIMEOUT_S = 90.0
GONE_TIMEOUT_S = 60.0
TICKET_TIMEOUT_S = 15.0


def test_a_group_rents_loads_serves_and_returns_everything(system: LocalSystem) -> None:
    """Create, rent, load, route, an answer from our PyWorker, delete, nothing left."""
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    template_hash = register_templates(system.market_url, [TGI_SIMULATED])[TGI_SIMULATED.name]

    endpoint_id = owner.create_group("main-job", **ONE_WORKER)
    owner.create_autogroup("main-job", template_hash, test_workers=1)
    workers = wait_until(
        "a ready worker",
        lambda: owner.ready_workers(endpoint_id),
        READY_TIMEOUT_S,
        shown=lambda: owner.workers(endpoint_id),
    )
    assert workers[0]["id"] in {row["id"] for row in market.instances()}

    # Routers know a worker at most a second after it became ready; clients ask again, as told.
    ticket = wait_until("a ticket", lambda: grant(system), TICKET_TIMEOUT_S)
    answer = requests.post(
        f"{ticket['url']}/generate",
        json={
            "auth_data": ticket,
            "payload": {"inputs": "hello", "parameters": {"max_new_tokens": 8}},
        },
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["generated_text"].split()) == 8

    owner.delete_group(endpoint_id)
    wait_until(
        "nothing rented",
        lambda: not market.instances(),
        GONE_TIMEOUT_S,
        shown=market.instances,
    )
    wait_until(
        "the group forgotten",
        lambda: "main-job" not in {row["endpoint_name"] for row in owner.groups()},
        GONE_TIMEOUT_S,
    )
    system.check()


def test_the_same_create_from_eight_threads_makes_one_autogroup(system: LocalSystem) -> None:
    """Through the gateway's threads, with the conditional writes of the database."""
    owner = Owner(system.url, system.account_key)
    template_hash = register_templates(system.market_url, [TGI_SIMULATED])[TGI_SIMULATED.name]
    endpoint_id = owner.create_group("created-once", max_workers=0)
    with ThreadPoolExecutor(8) as threads:
        creates = [
            threads.submit(owner.create_autogroup, "created-once", template_hash) for _ in range(8)
        ]
    (autogroup_id,) = {create.result() for create in creates}
    rows = owner.call("GET", "/api/v0/autojobs/")["results"]
    assert [row["id"] for row in rows if row["endpoint_id"] == endpoint_id] == [autogroup_id]
    owner.delete_group(endpoint_id)


def grant(system: LocalSystem) -> dict[str, Any]:
    """A ticket; empty while the answer is to wait."""
    reply: dict[str, Any] = requests.post(
        f"{system.url}/route/",
        json={"endpoint": "main-job", "api_key": system.account_key, "cost": 8},
        timeout=10,
    ).json()
    return reply if "url" in reply else {}
