"""The games over a running system: a bounded search in `make test-long`, more by the command."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator

import pytest

from chalicelib.adapters.aws.keys import DynamoKeyRepository
from chalicelib.core.model.caller_key import parse_key
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import wait_until
from tests.adversary import liars, processes
from tests.adversary.game import Game, search
from tests.adversary.test_perf import MARGIN

pytestmark = pytest.mark.long

SEED = 1
REPORT_S, SLACK_S = 10.0, 3.0  # of an idle worker; for the calls themselves on a busy machine


@pytest.fixture(scope="module")
def town(system: LocalSystem) -> Iterator[processes.Town]:
    town = processes.Town(system)
    processes.use(town)
    yield town
    processes.use(None)
    town.end()


@pytest.mark.parametrize("game", processes.GAMES, ids=lambda game: game.name)
def test_no_game_on_real_processes_is_won(town: processes.Town, game: Game) -> None:
    best = search(game, 20, SEED)
    assert not best.is_won, best.told()


def test_what_is_bought_is_served(town: processes.Town) -> None:
    """The games measure something: an honest script comes through."""
    honest = [("ticket", 40.0), ("use", 40, "last"), ("session", "last")]
    assert 0.1 < processes.over_quota(honest) <= 1.0
    in_session = [("ticket", 40.0), ("session", "last"), ("in", 40)]
    assert 0.1 < processes.over_quota(in_session) <= 1.0
    ticket = town.ticket(town.held["route key"], 5.0)
    assert processes.generate(ticket, 2)
    assert not processes.generate(ticket, 2)


def test_machines_that_start_are_seen(town: processes.Town) -> None:
    """The count measures something: the owner's own word starts more than one."""
    path = f"/api/v0/endptjobs/{town.mine}/"
    assert processes.started(lambda town: town.owner.call("PUT", path, {"min_load": 2_000.0})) >= 1
    town.owner.call("PUT", path, {"min_load": 10.0})
    assert processes.started(lambda town: None) == 0


def _revoke(town: processes.Town, key_id: str) -> None:
    town.owner.call("DELETE", f"/api/v0/keys/{key_id}")


def _delete(town: processes.Town, key_id: str) -> None:
    rows = DynamoKeyRepository(town.system.dynamodb(), town.system.table_prefix)
    assert rows.find(key_id) is not None
    rows.remove(key_id)


@pytest.mark.parametrize("end", [_revoke, _delete])
def test_a_session_ends_with_its_key(
    town: processes.Town, end: Callable[[processes.Town, str], None]
) -> None:
    """Within two reports of an idle worker; nobody asks for the key while it is used."""
    key = town.new_key()
    ticket = town.ticket(key, 200.0)
    told = processes.ask_worker(ticket, "/session/create", payload={"lifetime": 3_600})
    inside = {"session_id": str(json.loads(told.text)["session_id"])}
    assert processes.generate(ticket, 2, **inside)
    end(town, parse_key(key).key_id)
    ended_at = time.monotonic()
    statuses = [200]
    while statuses[-1] == 200 and time.monotonic() - ended_at < 60.0:
        time.sleep(1.0)
        payload = {"inputs": "x", "parameters": {"max_new_tokens": 1}}
        told = processes.ask_worker(ticket, "/generate", payload=payload, **inside)
        statuses.append(told.status)
    lasted_s = time.monotonic() - ended_at
    logging.getLogger(__name__).warning("a session outlived its key by %.0f s", lasted_s)
    assert statuses[-1] == 410, statuses
    assert lasted_s <= 2 * REPORT_S + SLACK_S


def test_questions_keep_the_markets_limits(town: processes.Town) -> None:
    """Twelve plans and twelve searches of an account-wide read key, one after the other."""
    asking = town.owner.call("POST", "/api/v0/keys", {"verbs": ["read"], "name": "q"})["key"]
    before = town.market.call("GET", "/_market")["n_too_frequent"]
    statuses = [
        town.call(method, path, body, key=str(asking)).status
        for _ in range(12)
        for method, path, body in (
            ("POST", "/api/v0/plan", {"endpoint_id": town.mine}),
            ("POST", "/api/v0/offers", {"search_params": processes.ONE_TYPE}),
        )
    ]
    after = town.market.call("GET", "/_market")["n_too_frequent"]
    logging.getLogger(__name__).warning("statuses %s, too early %d", set(statuses), after - before)
    assert set(statuses) == {200}


LIES: dict[str, liars.Lie] = {
    "idle": {},
    "perf 1e12": {"max_perf": 1e12},
    "perf 1e12, slots 1e6": {"max_perf": 1e12, "slots": 1e6},
    "perf 600": {"max_perf": 600.0},
    "saturated, perf 2000": {"max_perf": 2_000.0, "num_requests_working": 10},
}


def test_a_liar_beside_an_honest_machine_gets_its_share_and_stops_nobody(
    town: processes.Town,
) -> None:
    """Its share against the same fleet without a lie: the cheaper one gets more of its own."""
    path = f"/api/v0/endptjobs/{town.mine}/"
    fastest = max(float(row["perf"]) for row in town.owner.ready_workers(town.mine))
    town.owner.call("PUT", path, {"min_load": 1.4 * fastest})  # more than one of them serves
    wait_until("two machines", lambda: len(town.owner.ready_workers(town.mine)) >= 2, 240.0)
    instance_id, token = town.rooted()
    rows = town.owner.ready_workers(town.mine)
    (url,) = {str(row["url"]) for row in rows if row["id"] == instance_id}
    liar = liars.Liar(town, instance_id, token, url)
    honest = liars.watch(town, liar)
    assert honest.share(url) > 0.1, "it gets nothing when it is honest: no lie can be measured"
    found = liars.play(town, liar, LIES)
    for name, seen in {"no lie": honest, **found}.items():
        told = (name, len(rows), seen.share(url), seen.granted.total(), seen.served.total())
        logging.getLogger(__name__).warning(
            "%s: %d machines ready, share %.2f of %d, %d served", *told
        )
    shares = {name: seen.share(url) for name, seen in found.items()}
    bound = max(honest.share(url), 1 / len(rows)) + MARGIN
    assert {name: share for name, share in shares.items() if share > bound} == {}
    assert {name: seen.lost for name, seen in found.items() if seen.lost} == {}
    assert {name: seen.rented for name, seen in found.items() if seen.rented} == {}
    town.owner.call("PUT", path, {"min_load": 10.0})
