"""What another version wrote is never an error: it is kept, counted at its worst, or made anew."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace

import pytest

from chalicelib.adapters.aws.groups import _autogroup, _body, _group
from chalicelib.adapters.aws.ledger_store import intent_from_item
from chalicelib.adapters.aws.workers.items import from_item, to_item
from chalicelib.core.fleet.intents import IntentState
from chalicelib.core.model.autogroup import AutogroupState
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.routing.directory import (
    PLAIN_BYTES,
    ForeignDirectoryError,
    facts_to_json,
    pack_directory,
    unpack_directory,
)
from chalicelib.core.routing.packed_view import PackedViewError, pack_view, unpack_view
from chalicelib.core.routing.view import build_view
from chalicelib.core.scaling.round_memory import RoundMemory
from fakes.bundles.hot_ports import make_group, make_worker

ROW = Worker(endpoint_id=1, instance_id=2, autogroup_id=3, created_at=4.0, url="https://x:1")


@pytest.mark.parametrize(
    "change",
    [
        {"state": {"S": "hibernating"}},
        {"perf": {"S": "fast"}},
        {"url": {"N": "7"}},
        {"uses_ssl": {"S": "yes"}},
        {"ticket": {"S": "E"}},
        {"marks": {"B": b"short"}},
        {"created_at": {"M": {}}},
    ],
)
def test_a_row_that_cannot_be_read_whole_is_foreign_and_billed(change: dict[str, object]) -> None:
    row = from_item({**to_item(ROW), **change})  # type: ignore[dict-item]
    assert row.state is WorkerState.FOREIGN
    assert row.state.is_gpu_billed
    assert (row.endpoint_id, row.instance_id) == (1, 2)


def test_a_field_that_a_later_version_added_is_no_trouble() -> None:
    assert from_item({**to_item(ROW), "mood": {"S": "good"}}) == ROW


def test_an_intent_of_an_unknown_state_counts_as_open() -> None:
    item = {
        "token": {"S": "t"},
        "endpoint_id": {"N": "1"},
        "autogroup_id": {"N": "2"},
        "state": {"S": "half_rented"},
        "planned_at": {"N": "1.0"},
        "offer_id": {"N": "1"},
        "machine_id": {"N": "1"},
        "gpu_type": {"S": "1x A"},
        "usd_per_hour": {"N": "1.0"},
        "reserved_microusd_per_hour": {"N": "1"},
    }
    intent = intent_from_item(item)
    assert intent.state is IntentState.FOREIGN
    assert intent.is_open


def group_body(**changes: object) -> dict[str, object]:
    params = {"queue_order": "fifo", "max_workers": 3}
    body = {"endpoint_id": 1, "name": "llm", "created_at": 1.0, "state": "active", "params": params}
    return {**body, **changes}


def test_a_groups_unknown_fields_survive_an_update() -> None:
    params = {"queue_order": "fifo", "max_workers": 3, "greenness": 0.5}
    group = _group(group_body(colour="blue", params=params), 1)
    after = json.loads(_body(replace(group, revision=group.revision + 1)))
    assert after["colour"] == "blue"
    assert after["params"]["greenness"] == 0.5
    assert _group(json.loads(json.dumps(after)), 1) == replace(group, revision=2)


def test_a_group_or_autogroup_of_another_shape_is_foreign() -> None:
    params: dict[str, object] = {"queue_order": "fifo", "max_workers": 3}
    groups: list[object] = [
        group_body(state="archived"),
        group_body(params=[1, 2]),
        group_body(params={**params, "max_workers": 10**7}),  # beyond this version's bounds
        group_body(params={**params, "target_util": -1.0}),
        group_body(name={"en": "llm"}),
        group_body(name="n" * 129),
        {name: value for name, value in group_body().items() if name != "endpoint_id"},
        *(group_body(endpoint_id=2), [], "text", 7, None),
    ]
    for odd in groups:
        group = _group(odd, 1)
        assert (group.state, group.endpoint_id) == (GroupState.FOREIGN, 1)
        assert group.name in ("llm", "foreign-1")
    whole: dict[str, object] = {"autogroup_id": 5, "endpoint_id": 1, "created_at": 1.0}
    assert _autogroup(whole, 5).state is AutogroupState.ACTIVE
    autogroups: list[object] = [
        {**whole, "state": "dreaming"},
        {**whole, "gpu_ram": 1e20},  # beyond this version's bounds
        {"endpoint_id": 1, "created_at": 1.0},
        *({**whole, "autogroup_id": 6}, {**whole, "endpoint_id": [1]}, [], None),
    ]
    for odd in autogroups:
        autogroup = _autogroup(odd, 5)
        assert (autogroup.state, autogroup.autogroup_id) == (AutogroupState.FOREIGN, 5)


def test_an_unreadable_field_of_the_memory_starts_anew_and_the_others_stay() -> None:
    raw = {"at": 7.0, "inventory": [1], "searched": {"3": 5.0}, "troubles": 4, "dreams": {"a": 1}}
    memory = RoundMemory.from_bytes(json.dumps(raw).encode())
    assert (memory.at, memory.searched) == (7.0, {"3": 5.0})
    assert memory.inventory == RoundMemory().inventory
    assert memory.troubles == {}
    assert json.loads(memory.to_bytes())["dreams"] == {"a": 1}
    assert RoundMemory.from_bytes(b"\x00\x01") == RoundMemory()


def test_a_directory_hides_no_group_for_one_that_it_cannot_read() -> None:
    known = {
        "id": 1,
        "name": "llm",
        "state": "active",
        "key_generation": 1,
        "target_queue_time": 10,
        "max_queue_time": 30,
        "queue_order": "fifo",
        "autogroups": [[2, 1.0, 0, True, "", "a sixth value"]],
    }
    strange = {"id": 9, "name": "odd", "state": "archived"}
    blob = zlib.compress(json.dumps({"groups": [known, strange], "seal": 1}).encode())
    directory = unpack_directory(blob)
    found = directory.find("llm")
    assert found is not None
    assert found.endpoint_id == 1
    assert directory.find("nobody") is None
    for name, endpoint_id in (("odd", None), (None, 9)):
        with pytest.raises(ForeignDirectoryError):
            directory.find(name, endpoint_id)


def test_a_short_directory_is_as_versions_before_the_compression_write_and_read_it() -> None:
    few = [make_group(endpoint_id=n, name=f"group {n}") for n in range(1, 4)]
    many = [make_group(endpoint_id=n, name=f"group {n}") for n in range(1, 200)]
    assert json.loads(pack_directory(few))["groups"][2]["name"] == "group 3"
    assert len(pack_directory(many)) < PLAIN_BYTES
    for groups in (few, many):
        assert unpack_directory(pack_directory(groups)).find("group 2") == groups[1]


@pytest.mark.parametrize("blob", [b"{}", zlib.compress(b'{"entries": []}'), zlib.compress(b"[1]")])
def test_a_directory_of_another_form_is_refused_whole(blob: bytes) -> None:
    with pytest.raises(ForeignDirectoryError):
        unpack_directory(blob)


@pytest.mark.parametrize("blob", [b"", b"BV3\x00\x00\x00\x00", b"BV2\x02\x00\x00\x00[]", b"BV2"])
def test_a_view_of_another_version_says_so(blob: bytes) -> None:
    with pytest.raises(PackedViewError):
        unpack_view(blob)


def test_a_group_of_the_directory_with_a_field_of_another_type_is_foreign() -> None:
    """A router would compute with it, and answer 500."""
    row = facts_to_json(make_group())
    for name in row:
        if name in ("id", "name"):  # by which it is found
            continue
        odds: tuple[object, ...] = ("text", [], {"a": 1}, None, [[1, 1.0, 0, True, "Z"]])
        for odd in odds:
            if (name, odd) == ("autogroups", []):
                continue
            document = json.dumps({"version": 1, "groups": [{**row, name: odd}]}).encode()
            with pytest.raises(ForeignDirectoryError):
                unpack_directory(document).find(endpoint_id=row["id"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("built_at", "text"),
        ("grants_per_s", None),
        ("usual_cost", []),
        ("came_share", "1"),
        ("spared", "text"),
        ("n_by_state", {"ready": "two"}),
        ("n_waiting", {"k": None}),
        ("uses", [["k", "n", 1.0, 2.0]]),
        ("cutoffs", {"k": [0, 0, [], 1]}),
        ("cutoffs", {"k": [0, 0]}),
        ("queue", [[["a", 1, 2]], 0, 0, 0, 0, 0]),
        ("queue", [[], 0, {}, 0, 0, 0]),
    ],
)
def test_a_view_with_a_field_of_another_type_is_refused(name: str, odd: object) -> None:
    (view,) = build_view(make_group(), [make_worker(1, 1e9)], [], 1e9)
    blob = pack_view(view)
    assert unpack_view(blob).built_at == 1e9
    magic, size = struct.unpack_from("<3sI", blob)
    header = json.loads(blob[7 : 7 + size])
    assert name in header
    text = json.dumps({**header, name: odd}).encode()
    with pytest.raises(PackedViewError):
        unpack_view(struct.pack("<3sI", magic, len(text)) + text + blob[7 + size :])
