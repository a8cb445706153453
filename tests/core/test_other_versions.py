"""Every stored form, with a field added, lost, renamed or retyped: read, kept, or refused. No 500.

From 0.2.0 on another version may run beside this one. What it wrote is `tests/golden/formats_0_2_0`
with one change each; nothing that this version reads of it may raise, and nothing may be guessed
where money or a right hangs on it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from chalicelib.adapters.aws.events import _from_item as event_from_item
from chalicelib.adapters.aws.events import _to_item as event_to_item
from chalicelib.adapters.aws.keys import _from_item as key_from_item
from chalicelib.adapters.aws.ledger_store import (
    account_from_item,
    account_to_item,
    intent_from_item,
    intent_to_item,
)
from chalicelib.adapters.aws.waiting import _buckets, _taken_text, _waiting
from chalicelib.adapters.aws.workers.items import from_item, to_item
from chalicelib.core.codec import to_json
from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.model.load import granted_within, pending_load
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import Account, Booked, with_lease
from chalicelib.core.routing.quota import Taken
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.event_log import Event
from chalicelib.ports.keys import CallerKey
from tests.core.test_recorded_formats import INTENT as RECORDED

OTHER: Mapping[str, Any] = {"L": [{"S": "?"}]}


def changed(item: Any) -> Iterator[tuple[str, str, Any]]:
    """(what was done, to which attribute, the item) for every change that a version may make."""
    yield "added", "mood", {**item, "mood": {"S": "good"}}
    for name, attribute in item.items():
        lost = {key: value for key, value in item.items() if key != name}
        yield "lost", name, lost
        yield "renamed", name, {**lost, f"new_{name}": attribute}
        for other in (OTHER, {"S": "text"}, {"N": "7.5"}, {"M": {"a": {"S": "b"}}}, {"NULL": True}):
            if other.keys() != attribute.keys():
                yield "retyped", name, {**item, name: other}


ACCOUNT = Account(committed_by_group={7: 5}, day="2026-11-21", month="2026-11", version=3)
INTENT = replace(RECORDED, token="t", attempt_ended_at=None)
KEY = CallerKey(
    key_id="a-r-x",
    name="laptop",
    verbs=frozenset({"route"}),
    endpoint_id=None,
    generation=2,
    created_at=1.0,
    max_concurrent=3,
    revoked_generations_below=2,
)


JUMPED = replace(
    ACCOUNT,
    booked_at=9_000.5,
    before_jump=Booked(
        kept_at=5_000.5,
        booked_at=5_400.25,
        day="2026-11-21",
        month="2026-11",
        spent_today_by_group={7: 5, -1: 2},
        spent_month_by_group={7: 50},
        idle_today_microusd=3,
    ),
)


def test_what_is_kept_of_a_jump_is_read_as_it_was_written_or_left_out() -> None:
    whole = account_to_item(JUMPED)
    assert account_from_item(whole) == JUMPED
    odds: tuple[Mapping[str, Any], ...] = (
        OTHER,
        {"S": "Booked(kept_at=1)"},
        {"M": {"kept_at": {"S": "noon"}}},
        {"M": {}},
    )
    for odd in odds:
        assert account_from_item({**whole, "before_jump": odd}) == replace(JUMPED, before_jump=None)


@pytest.mark.parametrize("kind", ["added", "lost", "renamed", "retyped"])
def test_an_account_is_read_whole_or_stood_down_from(kind: str) -> None:
    whole = account_to_item(ACCOUNT)
    for how, name, item in changed(whole):
        if how != kind:
            continue
        account = account_from_item(item)
        if how == "added":
            assert account == ACCOUNT
            assert account_to_item(account)["mood"] == {"S": "good"}, "it survives a write"
            continue
        if name == "n_lanes" and how != "retyped":  # 0.2.0 did not write it: no money hangs on it
            assert account == replace(ACCOUNT, n_lanes=0), "its workers report to the root path"
            continue
        assert account.is_foreign, f"{name} {how}: no cap, spend or brake is guessed"
        assert with_lease(account, "me", 1e9, 60.0) is None
        assert account.why_not_ours


def test_an_account_of_this_version_is_its_own() -> None:
    account = account_from_item({**account_to_item(ACCOUNT), "account": {"S": "main"}})
    assert account == ACCOUNT
    assert not account.unknown
    assert with_lease(account, "me", 1e9, 60.0) is not None


def test_a_rental_is_read_or_counts_as_open_at_its_worst() -> None:
    whole = {**intent_to_item(INTENT), "item": {"S": "intent#t"}}
    defaults = {f.name for f in fields(RentIntent)} - {
        *("token", "endpoint_id", "autogroup_id", "state", "planned_at", "offer_id"),
        *("machine_id", "usd_per_hour", "reserved_microusd_per_hour"),
    }  # the GPUs are written twice, for versions before
    for how, name, item in changed(whole):
        if name == "item":
            continue  # the key: there is no row without it
        intent = intent_from_item(item)
        assert intent.is_open
        assert intent.token in ("t", item.get("token", {}).get("S"))
        assert intent.reserved_microusd_per_hour >= INTENT.reserved_microusd_per_hour
        is_spare = name == "gpu_type" or (how in ("lost", "renamed") and name in defaults)
        if how == "added" or is_spare:
            assert intent.state is IntentState.MAYBE_RENTED
            kept = intent_to_item(intent)
            added = "mood" if how == "added" else f"new_{name}"
            assert kept.get(added) == item.get(added)
        else:
            assert intent.state is IntentState.FOREIGN, f"{name} {how}"


def test_a_worker_is_read_or_left_alone() -> None:
    row = Worker(endpoint_id=1, instance_id=2, autogroup_id=3, created_at=4.0, url="https://x:1")
    whole = to_item(replace(row, state=WorkerState.READY, perf=3.0, uses_ssl=False, error="no"))
    for how, name, item in changed(whole):
        if name in ("endpoint_id", "instance_id"):
            continue  # the key
        worker = from_item(item)
        assert (worker.endpoint_id, worker.instance_id) == (1, 2)
        if how == "retyped":
            assert worker.state is WorkerState.FOREIGN, f"{name} {how}"
        assert worker.state.is_gpu_billed


# As 0.1 wrote them: pairs of (time, granted load), eight bytes each.
FORMER_MARKS = b"".join(struct.pack("<dd", 1_000.0 + 9 * i, 8.0 * i) for i in range(5))


@pytest.mark.parametrize("n_marks", range(1, 6))
def test_marks_of_the_former_form_are_not_taken_for_ours(n_marks: int) -> None:
    """A worker from before an upgrade serves on: it is neither foreign nor full."""
    row = Worker(endpoint_id=1, instance_id=2, autogroup_id=3, created_at=4.0, url="https://x:1")
    row = replace(row, state=WorkerState.READY, reported_at=2_000.0, granted_load=40.0)
    item: dict[str, Any] = {**to_item(row), "granted_marks": {"B": FORMER_MARKS[: 16 * n_marks]}}
    worker = from_item(item)
    assert worker.state is WorkerState.READY
    assert pending_load(worker, 2_001.0) == 0.0
    assert granted_within(worker, 60.0, 2_001.0) == 0.0  # nor is it a burst
    ours = ((2_000.0, 24.0), (2_004.0, 32.0))
    assert from_item({**item, **to_item(replace(row, granted_marks=ours))}).granted_marks == ours


def test_bytes_of_a_new_form_have_a_new_name() -> None:
    """After a rollback 0.1 meets no bytes that it would misread under a name that it knows."""
    marks = tuple((1_000.0 + 9 * i, 8.0 * i) for i in range(5))
    row = Worker(endpoint_id=1, instance_id=2, autogroup_id=3, created_at=4.0, granted_marks=marks)
    item = to_item(row)
    assert "granted_marks" not in item
    assert from_item(item) == row


def key_item(value: Mapping[str, object], key_id: str = KEY.key_id) -> dict[str, Any]:
    return {"key_id": {"S": f"caller#{key_id}"}, "value": {"S": json.dumps(value)}}


def test_a_key_is_read_whole_or_refused() -> None:
    whole = json.loads(to_json(KEY))
    assert key_from_item(key_item(whole)) == KEY
    kept = key_from_item(key_item({**whole, "mood": "good"}))
    assert kept == KEY
    assert json.loads(to_json(kept))["mood"] == "good"
    for name in whole:
        lost = {key: value for key, value in whole.items() if key != name}
        for odd in (lost, {**whole, name: [1]}, {**whole, name: {"a": 1}}):
            key = key_from_item(key_item(odd))
            is_needed = name in ("key_id", "name", "verbs", "endpoint_id", "generation")
            if odd is not lost and name not in ("former_hashes", "verbs"):
                assert key.is_foreign, f"{name} retyped"
            if odd is lost and is_needed:
                assert key.is_foreign, f"{name} lost"
            if key.is_foreign:
                assert not key.verbs
    for text in ("", "[]", "7", "{"):
        assert key_from_item({**key_item({}), "value": {"S": text}}).is_foreign
    assert key_from_item({"key_id": {"S": "caller#a"}}).is_foreign


def test_a_waiting_request_of_another_form_is_left_to_its_own_router() -> None:
    item: Any = {
        "item": {"S": "waiting#5"},
        "cost": {"N": "1"},
        "first_seen_at": {"N": "2"},
        "last_polled_at": {"N": "3"},
        "key_id": {"S": "k"},
        "is_paced": {"BOOL": True},
    }
    assert _waiting(1, item) is not None
    for how, name, other in changed(item):
        request = _waiting(1, other)
        if how == "added":
            assert request is not None
        elif name in ("item", "cost", "first_seen_at", "last_polled_at", "key_id"):
            assert request is None or how == "retyped"


def test_a_quota_of_another_form_is_not_begun_anew() -> None:
    item: Any = {
        "revision": {"N": "3"},
        "granted": {"S": _taken_text(Taken())},
        "queued": {"S": _taken_text(Taken())},
    }
    assert _buckets("k", item).revision == 3
    for how, name, other in changed(item):
        if how != "added":
            with pytest.raises(StorageUnavailableError, match="another version"):
                _buckets("k", other)
            assert name
    for odd in ('[{"a": 1}, 0, 0, []]', '[0, 0, "x", []]', "[0, 0, 0, [[1, [2]]]]", "[0]", "7"):
        with pytest.raises(StorageUnavailableError, match="another version"):
            _buckets("k", {**item, "granted": {"S": odd}})


def test_a_key_whose_limits_this_version_does_not_allow_is_refused() -> None:
    """A share of 0 would be divided by at `/route/`."""
    whole = json.loads(to_json(KEY))
    for name, value in (("share", 0), ("share", -1.0), ("max_concurrent", 0), ("expires_at", -1)):
        assert key_from_item(key_item({**whole, name: value})).is_foreign, name


def test_an_event_of_another_form_is_told_as_far_as_it_can_be_read() -> None:
    whole = event_to_item(
        Event(at=5.0, scope="account", level="info0", kind="k", message="m", facts={"a": 1})
    )
    for _, name, item in changed(whole):
        if name not in ("scope", "at_id"):  # the key
            event = event_from_item(item)
            assert (event.at, event.scope) == (5.0, "account")


READERS: Mapping[str, Callable[[Any], object]] = {
    "account": account_from_item,
    "intent": intent_from_item,
}


@pytest.mark.parametrize("name", READERS)
def test_an_item_of_nothing_is_foreign(name: str) -> None:
    read = READERS[name]({"account": {"S": "main"}, "item": {"S": f"{name}#t"}})
    assert getattr(read, "is_foreign", True)
