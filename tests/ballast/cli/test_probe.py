"""The probe on a market as expected, and on markets that each behave otherwise in one way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from ballast.cli.probe.findings import EXPECTED
from ballast.cli.probe.prober import ProbeStoppedError
from ballast.cli.probe.records import Recorder
from tests.ballast.cli.probe_market import (
    KEY,
    Change,
    ProbeMarket,
    answering,
    each_row,
    editing,
)

LIST, SEARCH = "GET https://console.vast.ai/api/v1/instances", "/api/v0/bundles"


def run(*changes: Change, max_usd: float = 1.0) -> tuple[ProbeMarket, Any]:
    """Look and rent."""
    market = ProbeMarket(list(changes))
    prober = market.prober()
    prober.look()
    with contextlib.suppress(ProbeStoppedError):
        prober.rent_one(max_usd)
    return market, prober


def test_a_market_as_expected_has_no_finding_and_nothing_is_left() -> None:
    market, prober = run()
    assert prober.findings.wrong() == []
    assert prober.left == []
    assert not [i for i in market.market.instances.values() if not i.is_destroyed]
    tried = {line.name for line in prober.findings.lines.values() if line.ok}
    assert set(EXPECTED) - tried <= {"offer:storage", "bid:change", "bid:lost-words"}


def test_a_beaten_bid_is_recorded_in_the_markets_own_words() -> None:
    """It bids the minimum, runs, lowers its own bid, and sees how the machine is taken away."""
    market = ProbeMarket()
    prober = market.prober()
    prober.rent_one(1.0, interruptible=True)
    lines = prober.findings.lines
    assert lines["bid:change"].ok
    assert lines["bid:lost-words"].ok, lines["bid:lost-words"]
    assert "exited/stopped" in lines["bid:lost-words"].seen
    assert prober.left == []
    assert not [i for i in market.market.instances.values() if not i.is_destroyed]
    assert any(record["call"] == "bid" for record in prober.recorder.records)


def set_all(name: str, value: Any) -> Any:
    return lambda row: row.__setitem__(name, value)


def repeat_first(body: dict[str, Any]) -> None:
    if body.get("instances"):
        body["instances"].append(body["instances"][0])


DRIFTS: list[tuple[str, Change]] = [
    ("right:user_read", answering("/api/v0/users/current", 403, '{"error": "not_authorized"}')),
    ("right:user_read", answering("/api/v0/template", 401, "")),
    ("right:misc", answering(SEARCH, 403, "Forbidden")),
    ("right:instance_read", answering(LIST, 404, '{"error": "auth_error"}')),
    ("list:members", editing(LIST, lambda body: body.pop("total_instances", None))),
    ("list:members", editing(LIST, lambda body: body.update(instances=None))),
    ("list:total", editing(LIST, lambda body: body.update(total_instances=99))),
    ("state:words", editing(LIST, each_row("instances", set_all("actual_status", "warming")))),
    ("search:rows", editing(SEARCH, lambda body: body.update(offers=[]))),
    ("search:rows", answering(SEARCH, 200, "{}")),
    ("search:filters", editing(SEARCH, each_row("offers", set_all("num_gpus", 8)))),
    ("search:filters", editing(SEARCH, each_row("offers", set_all("verification", "unverified")))),
    ("search:sorted", editing(SEARCH, lambda body: body["offers"].reverse())),
    ("search:limit", editing(SEARCH, lambda body: body.update(offers=body["offers"] * 9))),
    ("offer:members", editing(SEARCH, each_row("offers", lambda row: row.pop("machine_id")))),
    ("offer:numbers", editing(SEARCH, each_row("offers", set_all("dph_total", "0.2")))),
    ("offer:numbers", editing(SEARCH, each_row("offers", set_all("inet_up_cost", -1)))),
    ("credit:number", editing("/users/current", lambda body: body.update(credit=None))),
    ("template:list", editing("/template", lambda body: body.pop("templates"))),
    ("show:absent", answering("/api/v0/instances/1/", 200, '{"instances": {"id": 1}}')),
    ("create:contract", editing("PUT https://console.vast.ai/api/v0/asks",
                                lambda body: body.update(new_contract=None))),
    ("label:kept", editing(LIST, each_row("instances",
                                          lambda row: row.update(label=f"x {row['label']}")))),
    ("env:kept", editing(LIST, each_row("instances", set_all("extra_env", [])))),
    ("price:kept", editing(LIST, each_row("instances", set_all("dph_total", 9.9)))),
    ("boot:running", editing(LIST, each_row("instances", set_all("actual_status", "loading")))),
    ("address:public", editing(LIST, each_row("instances", set_all("public_ipaddr", None)))),
    ("ports:mapped", editing(LIST, each_row("instances", set_all("ports", None)))),
    ("logs:read", editing("request_logs", lambda body: body.pop("result_url", None))),
    ("stop:kept", editing(LIST, each_row("instances", set_all("cur_state", "running")))),
    ("destroy:accepted", answering("DELETE", 400, '{"error": "invalid_args"}')),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change"), DRIFTS, ids=[f"{i}-{d[0]}" for i, d in enumerate(DRIFTS)]
)
def test_each_single_drift_is_found_by_its_name(name: str, change: Change) -> None:
    """And no machine is left without being named."""
    market, prober = run(change)
    assert name in {line.name for line in prober.findings.wrong()}
    alive = [i for i in market.market.instances.values() if not i.is_destroyed]
    assert not alive or prober.left


def test_a_destroy_that_does_nothing_is_named_with_the_step_to_take() -> None:
    market = ProbeMarket(ignored="DELETE")
    prober = market.prober()
    prober.rent_one(1.0)
    alive = [i.instance_id for i in market.market.instances.values() if not i.is_destroyed]
    assert "destroy:gone" in {line.name for line in prober.findings.wrong()}
    assert len(alive) == 1
    assert str(alive[0]) in prober.left[0]
    assert "https://cloud.vast.ai/instances/" in prober.left[0]


def test_nothing_is_rented_above_the_cap() -> None:
    market, _ = run(max_usd=0.0001)
    assert not market.market.instances


def interrupted(at: Sequence[int], *, before: bool) -> tuple[ProbeMarket, Any]:
    """A probe during whose nth calls somebody presses Ctrl-C, before or after they are answered."""
    market = ProbeMarket()
    prober = market.prober()
    n_calls, send = 0, prober.send

    def interrupt(request: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls in at and before:
            raise KeyboardInterrupt
        answer = send(request)
        if n_calls in at:
            raise KeyboardInterrupt
        return answer

    prober.send = interrupt
    with contextlib.suppress(KeyboardInterrupt):
        prober.rent_one(1.0)
    return market, prober


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("n", range(1, 19))
def test_ctrl_c_at_any_call_leaves_nothing_rented(n: int, before: bool) -> None:
    market, prober = interrupted([n], before=before)
    alive = [i.instance_id for i in market.market.instances.values() if not i.is_destroyed]
    assert not alive or all(str(one) in "".join(prober.left) for one in alive)
    assert not alive or n > 12  # only who interrupts the returning itself has to be told


@pytest.mark.parametrize("n", range(1, 16))
def test_ctrl_c_twice_leaves_nothing_unnamed(n: int) -> None:
    """The second comes while the machine is being returned: its label is all that is known."""
    market, prober = interrupted([n, n + 1, n + 2], before=False)
    alive = [i for i in market.market.instances.values() if not i.is_destroyed]
    assert not alive or prober.left
    assert all(alive[0].label in line for line in prober.left) if alive else True


def test_a_machine_that_is_listed_late_after_a_lost_create_is_still_found() -> None:
    """The answer is lost, and the listing lags 45 s."""
    market = ProbeMarket()
    prober = market.prober()
    send = prober.send

    def lose(request: Any) -> Any:
        answer = send(request)
        if "/asks/" in request.url:
            market.market.switch_on("listing-lags", market.clock.now(), lag_s=45.0)
            raise KeyboardInterrupt
        return answer

    prober.send = lose
    with pytest.raises(KeyboardInterrupt):
        prober.rent_one(1.0)
    assert not [i for i in market.market.instances.values() if not i.is_destroyed]
    assert prober.left == []


HOSTILE = {
    "label": "Jane Doe jane@example.com", "public_ipaddr": "198.51.100.77", "id": 20000001,
    "machine_id": 4711, "ssh_host": "ssh4.vast.ai", "api_key": KEY, "email": "jane@example.com",
    "extra_env": [["HF_TOKEN", "hf_abcdefghijklmnop"]], "gpu_name": "198.51.100.77",
    "label_counts": {"Jane Doe": 2, KEY: 1}, "geolocation": "Main Street 5, Springfield, US",
    "actual_status": "0123456789abcdef0123", "error": "4711471147", "HostPort": "41234",
    "msg": f"error 404/3603: no_such_ask for {KEY} at 198.51.100.77",
}  # fmt: skip


def test_no_key_name_address_email_or_id_survives_in_the_record() -> None:
    recorder = Recorder("2026-11-29")
    for text in (json.dumps(HOSTILE), json.dumps([HOSTILE]), f"plain {json.dumps(HOSTILE)}", KEY):
        recorder.keep("list", 400, {"set-cookie": KEY, "retry-after": "10"}, text, "seen")
    written = recorder.to_json()
    for secret in (KEY, "Jane", "jane", "198.51", "4711", "20000001", "hf_", "Springfield",
                   "41234", "0123456789abcdef", "ssh4"):  # fmt: skip
        assert secret not in written
    assert "error 404/3603 no_such_ask" in written
    assert json.loads(written)[0]["headers"] == {"retry-after": "10"}


def test_the_record_of_a_probe_keeps_no_key() -> None:
    _, prober = run()
    written = prober.recorder.to_json()
    assert KEY not in written
    assert "ballast-probe" not in written
    assert {record["call"] for record in json.loads(written)} >= {
        "list",
        "search",
        "create",
        "show",
    }
