"""The main job, end to end, over HTTP: rent, load, route, serve, return."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests

from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import (
    COMFYUI_SIMULATED,
    FAST_MODEL,
    TGI_SIMULATED,
    LocalTemplate,
    onstart,
    register_templates,
)

TGI_FAST = replace(TGI_SIMULATED, onstart=onstart(FAST_MODEL, "workers.tgi.server"))
ONE_WORKER = {"min_load": 1.0, "cold_workers": 0, "max_workers": 1}
READY_TIMEOUT_S = 240.0
GONE_TIMEOUT_S = 240.0
TEXT = {"inputs": "hello", "parameters": {"max_new_tokens": 8}}
PICTURE = {"prompt": "a cat", "width": 512, "height": 512, "steps": 20, "seed": 42}
PNG = b"\x89PNG\r\n\x1a\n"


def is_text(answer: dict[str, Any]) -> bool:
    """Whether these are the eight words that were asked for."""
    return len(str(answer["generated_text"]).split()) == 8


def is_picture(answer: dict[str, Any]) -> bool:
    """Whether this is one PNG."""
    (picture,) = answer["images"]
    return bool(base64.b64decode(picture.removeprefix("data:image/png;base64,")).startswith(PNG))


@pytest.mark.parametrize(
    ("group", "template", "route", "payload", "is_right"),
    [
        ("texts", TGI_FAST, "/generate", TEXT, is_text),
        ("pictures", COMFYUI_SIMULATED, "/prompt", PICTURE, is_picture),
    ],
    ids=["tgi", "comfyui"],
)
def test_a_group_rents_loads_serves_and_returns_everything(
    system: LocalSystem,
    group: str,
    template: LocalTemplate,
    route: str,
    payload: dict[str, Any],
    is_right: Callable[[dict[str, Any]], bool],
) -> None:
    """Create, rent, load, route, an answer from our PyWorker, delete, nothing left."""
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    template_hash = register_templates(system.market_url, [template])[template.name]

    endpoint_id = owner.create_group(group, **ONE_WORKER)
    owner.create_autogroup(group, template_hash, test_workers=1)
    workers = wait_until(
        "a ready worker",
        lambda: owner.ready_workers(endpoint_id),
        READY_TIMEOUT_S,
        shown=lambda: owner.workers(endpoint_id),
    )
    assert workers[0]["id"] in {row["id"] for row in market.instances()}

    ticket = owner.ticket(group, cost=8)
    body = {"auth_data": ticket, "payload": payload}
    answer = requests.post(ticket["url"] + route, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert is_right(answer.json())

    owner.delete_group(endpoint_id)
    wait_until(
        "nothing rented",
        lambda: not market.instances(group),
        GONE_TIMEOUT_S,
        shown=market.instances,
    )
    wait_until(
        "the group forgotten",
        lambda: group not in {row["endpoint_name"] for row in owner.groups()},
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
