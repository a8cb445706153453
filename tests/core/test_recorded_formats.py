"""The stored forms of 0.2.0, recorded: every later version reads them, and writes what they hold.

`tests/golden/formats_0_2_0.json` is what 0.2.0 wrote of one account, rental, worker, group, key …
A form may gain fields. One that is renamed or retyped is a new record beside this one, and a new
`WRITTEN_BY`: `BALLAST_RECORD=1 .venv/bin/python -m pytest tests/core/test_recorded_formats.py`
writes what is missing, and never overwrites a record.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chalicelib.adapters.aws.events import _from_item as event_from_item
from chalicelib.adapters.aws.events import _to_item as event_to_item
from chalicelib.adapters.aws.groups import _autogroup, _body, _group
from chalicelib.adapters.aws.keys import _from_item as key_from_item
from chalicelib.adapters.aws.ledger_store import (
    account_from_item,
    account_to_item,
    intent_from_item,
    intent_to_item,
)
from chalicelib.adapters.aws.waiting import _buckets, _taken_text
from chalicelib.adapters.aws.workers.items import from_item, to_item
from chalicelib.core.codec import to_json
from chalicelib.core.fleet.breakers import HostRecord, Reputation, TemplateRecord
from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.troubles import LastingTrouble
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, FloorSchedule, ScalingParams
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import Account
from chalicelib.core.routing.directory import group_facts, pack_directory, unpack_directory
from chalicelib.core.routing.packed_view import pack_view, unpack_view
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.core.routing.quota import KeyBuckets, Taken
from chalicelib.core.routing.view import RoutingView
from chalicelib.core.scaling.round_memory import WRITTEN_BY, RoundMemory
from chalicelib.ports.event_log import Event
from chalicelib.ports.keys import CallerKey

RECORD = Path(__file__).parent.parent / "golden" / f"formats_{WRITTEN_BY.replace('.', '_')}.json"

ACCOUNT = Account(
    committed_by_group={7: 5},
    workers_by_group={7: 1},
    spent_today_by_group={7: 9},
    next_call_at={"create": 4.5},
    day="2026-11-21",
    month="2026-11",
    public_url="https://x",
    version=3,
)
INTENT = RentIntent(
    token="0123456789abcdefAAAABBBB",
    endpoint_id=7,
    autogroup_id=8,
    state=IntentState.MAYBE_RENTED,
    planned_at=1.5,
    offer_id=2,
    machine_id=3,
    gpu_name="A",
    num_gpus=1,
    usd_per_hour=0.5,
    reserved_microusd_per_hour=600_000,
    attempt_ended_at=2.5,
)
WORKER = Worker(
    endpoint_id=7,
    instance_id=2,
    autogroup_id=8,
    created_at=4.0,
    state=WorkerState.READY,
    url="https://192.0.2.1:1",
    perf=3.5,
    uses_ssl=False,
    granted_marks=((1.0, 2.0), (2.0, 3.0)),
    certificate_sha256="ab" * 32,
)
GROUP = EndpointGroup(
    endpoint_id=7,
    name="llm",
    created_at=1.0,
    params=ScalingParams(min_load=3.0, max_usd_per_day=9.0),
    schedules=(FloorSchedule(cron="0 8 * * *", duration_s=60.0, min_load=2.0),),
    given=("min_load",),
)
AUTOGROUP = Autogroup(
    autogroup_id=8, endpoint_id=7, created_at=1.0, search_query={"gpu_name": {"eq": "A"}}
)
KEY = CallerKey(
    key_id="a-r-x",
    name="laptop",
    verbs=frozenset({"route"}),
    endpoint_id=None,
    generation=2,
    created_at=1.0,
    max_concurrent=3,
)
EVENT = Event(at=5.0, scope="account", level="info0", kind="k", message="m", facts={"a": 1})
FACTS = group_facts(GROUP, [AUTOGROUP])
ROUTABLE = RoutableWorker(
    instance_id=2,
    autogroup_index=0,
    perf=3.5,
    usd_per_hour=0.5,
    free_at=1.0,
    granted_load=2.0,
    known_at=9.0,
    url="https://192.0.2.1:1",
    boot_id="ab" * 8,
)
VIEW = RoutingView(group=FACTS, built_at=9.0, n_by_state={"ready": 1}, workers=(ROUTABLE,))
MEMORY = RoundMemory(
    at=9.0,
    written_by=WRITTEN_BY,
    inventory=Inventory(),
    reputation=Reputation(
        hosts={"1": HostRecord(n_failures=1, avoided_until=5.0)}, templates={"8": TemplateRecord()}
    ),
    troubles={"panic|account": LastingTrouble(kind="panic", scope="account", since=1, message="m")},
    guarded={"7": ("cap_usd", 3.0)},
    progress={"2": ("loading", 4.0)},
)
TAKEN = Taken(1.0, 2.0, 3.0, ((4.0, 1),))


def written() -> dict[str, Any]:
    """Every stored form, as this version writes it."""
    return {
        "account": account_to_item(ACCOUNT),
        "intent": intent_to_item(INTENT),
        "worker": {name: _plain(attribute) for name, attribute in to_item(WORKER).items()},
        "group": json.loads(_body(GROUP)),
        "autogroup": json.loads(_body(AUTOGROUP)),
        "key": json.loads(to_json(KEY)),
        "quota": json.loads(_taken_text(TAKEN)),
        "event": {k: v for k, v in event_to_item(EVENT).items() if k != "at_id"},
        "directory": json.loads(pack_directory([FACTS])),  # a short one is not compressed
        "view": base64.b64encode(pack_view(VIEW)).decode(),
        "memory": json.loads(MEMORY.to_bytes()),
    }


def _plain(attribute: Any) -> Any:
    raw = attribute.get("B")
    return attribute if raw is None else {"B": base64.b64encode(raw).decode()}


def recorded() -> dict[str, Any]:
    if not RECORD.exists() and os.environ.get("BALLAST_RECORD"):
        RECORD.write_text(json.dumps(written(), indent=1, sort_keys=True, default=str) + "\n")
    record: dict[str, Any] = json.loads(RECORD.read_text())
    return record


def test_what_0_2_0_wrote_is_read_as_it_was_meant() -> None:
    old = recorded()
    assert account_from_item(old["account"]) == ACCOUNT
    assert intent_from_item(old["intent"]) == INTENT
    row: Any = {
        name: {"B": base64.b64decode(value["B"])} if "B" in value else value
        for name, value in old["worker"].items()
    }
    assert from_item(row) == WORKER
    assert _group(old["group"], GROUP.endpoint_id) == GROUP
    assert _autogroup(old["autogroup"], AUTOGROUP.autogroup_id) == AUTOGROUP
    item = {"key_id": {"S": f"caller#{KEY.key_id}"}, "value": {"S": json.dumps(old["key"])}}
    assert key_from_item(item) == KEY
    text = json.dumps(old["quota"])
    buckets: Any = {"revision": {"N": "1"}, "granted": {"S": text}, "queued": {"S": text}}
    assert _buckets("k", buckets) == KeyBuckets(key_id="k", revision=1, granted=TAKEN, queued=TAKEN)
    event = event_from_item({**old["event"], "at_id": {"S": "0000000005.000000#x"}})
    assert (event.kind, event.facts) == (EVENT.kind, EVENT.facts)
    directory = unpack_directory(zlib.compress(json.dumps(old["directory"]).encode()))
    assert directory.find("llm") == FACTS
    view = unpack_view(base64.b64decode(old["view"]))
    assert (view.group, view.built_at, view.workers[0].url) == (FACTS, 9.0, ROUTABLE.url)
    assert pack_view(view) == pack_view(VIEW)
    assert RoundMemory.from_bytes(json.dumps(old["memory"]).encode()) == MEMORY


def test_what_0_2_0_reads_is_still_written() -> None:
    """A field may come; none that 0.2.0 knows goes, or becomes another type."""
    new = json.loads(json.dumps(written(), default=str))
    old = recorded()
    for form in (old, new):
        form["view"] = _taken_apart(base64.b64decode(form["view"]))
    _assert_within(old, new, "")


def _taken_apart(view: bytes) -> dict[str, Any]:
    """A packed view: three bytes of magic, the header's length in four, the header, the rest."""
    end = 7 + int.from_bytes(view[3:7], "little")
    header = json.loads(view[7:end])
    return {"magic": view[:3].decode(), "header": header, "workers": view[end:].hex()}


def _assert_within(old: Any, new: Any, path: str) -> None:
    if isinstance(old, Mapping):
        assert isinstance(new, Mapping), f"{path} was an object"
        for name, value in old.items():
            assert name in new, f"{path}.{name} is written no more: record a new form"
            _assert_within(value, new[name], f"{path}.{name}")
        return
    assert type(old) is type(new), f"{path}: {old!r} has become {new!r}: record a new form"
    if not isinstance(old, list):
        assert old == new, path
