"""Lanes: a machine reports on a path that nobody can guess, with as few others as can be."""

from __future__ import annotations

import random
from collections import Counter

from chalicelib.services.keys import worker_token
from chalicelib.services.market.lanes import N_LANES, lane_of, lane_path, quiet_token
from fakes.ports.secret_box import FakeSecretBox
from fakes.worlds.world import World
from tests.api.over_fakes import Api
from tests.faults.stories import run_rounds

URL = "https://ballast.example"


def draw(dice: random.Random, tokens: list[str]) -> str:
    return quiet_token(lambda: f"{dice.getrandbits(64):016x}", tokens, N_LANES)


def reported_to(world: World) -> list[str]:
    rented = world.market.instances.values()
    return [instance.order.env["REPORT_ADDR"] for instance in rented]


def test_as_many_workers_as_lanes_share_none_and_the_rest_spread_evenly() -> None:
    for seed in range(20):
        dice, tokens = random.Random(seed), list[str]()
        for _ in range(3 * N_LANES):
            tokens.append(draw(dice, tokens))
        for n in (1, 2, 3):
            used = Counter(lane_of(token, N_LANES) for token in tokens[: n * N_LANES])
            assert max(used.values()) <= n + 1
            assert len(used) >= N_LANES - 1


def test_the_row_of_an_adopted_machine_may_hold_no_token() -> None:
    assert lane_of(draw(random.Random(1), ["", "adopted by hand"]), N_LANES) < N_LANES


def test_machines_of_all_groups_get_lanes_of_their_own() -> None:
    world = World(seed=2)
    world.ledger.set_public_url(URL, N_LANES)
    for name in ("one", "two"):
        world.add_group(name, min_load=200.0, max_workers=6, cold_workers=0)
    world.ledger.set_caps({"caps_microusd_per_hour": 50_000_000})
    run_rounds(world, 6)
    addresses = reported_to(world)
    assert len(addresses) >= 4
    assert len({address.rpartition("/")[2] for address in addresses}) == len(addresses)
    known = {lane_path(world.ports.secrets, lane) for lane in range(N_LANES)}
    for address in addresses:
        user, _, rest = address.removeprefix("https://w:").partition("@")
        host, _, lane = rest.partition("/")
        assert (host, lane in known) == ("ballast.example", True)
        assert lane_path(world.ports.secrets, lane_of(user.split(".")[1], N_LANES)) == lane


def test_without_lanes_machines_report_to_the_root_path() -> None:
    world = World(seed=2)
    world.add_group(min_load=1.0, max_workers=2, cold_workers=0)
    run_rounds(world, 3)
    addresses = reported_to(world)
    assert addresses
    assert all(address.endswith("@ballast.example") for address in addresses)


def test_a_deployment_that_knows_no_address_of_its_own_reserves_nothing() -> None:
    world = World(seed=2)
    world.ledger.set_public_url("")
    world.add_group(min_load=1.0, max_workers=2, cold_workers=0)
    run_rounds(world, 3)
    assert not world.market.instances
    assert not [one for one in world.ports.ledger.intents() if one.is_open]
    assert world.ledger.account().committed_microusd_per_hour == 0


def test_the_app_takes_reports_keys_and_bundles_of_a_lane_as_of_the_root_path() -> None:
    api = Api()
    endpoint_id = api.create_endpoint()
    lane = "/" + lane_path(api.secrets, 3)
    token = worker_token(api.secrets, endpoint_id, "none")
    report = {"id": 1, "mtoken": token}
    for method, path, body in (
        ("POST", "/worker_status/", report),
        ("POST", "/worker_status", report),
        ("POST", "/delete_requests/", {"worker_id": 1, "requests": []}),
        ("POST", "/worker_status/", {"id": "?"}),
        ("GET", "/pubkey/", None),
        ("GET", f"/bundle/{'0' * 64}.tar.gz", None),
        ("GET", "/nothing", None),
    ):
        plain = api.call(method, path, body, key=None)
        through = api.call(method, lane + path, body, key=None)
        assert (through.status, through.text) == (plain.status, plain.text), path


def test_a_lane_opens_nothing_that_needs_a_key() -> None:
    api = Api()
    lane = "/" + lane_path(api.secrets, 3)
    assert api.call("GET", lane + "/api/v0/endptjobs/", key=None).status == 401
    assert api.call("GET", "/w-short/health", key=None).status == 404


def test_lanes_of_two_deployments_and_of_two_peppers_have_nothing_in_common() -> None:
    mine, theirs = FakeSecretBox(b"mine"), FakeSecretBox(b"theirs")
    paths = [lane_path(box, lane) for box in (mine, theirs) for lane in range(N_LANES)]
    assert len(set(paths)) == 2 * N_LANES
    token = worker_token(mine, 3, "a" * 24)
    assert token[-20:] not in "".join(paths)
