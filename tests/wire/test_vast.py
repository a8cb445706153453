"""Bodies for Vast: what goes out is exactly what was meant, or nothing goes out (T15)."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire import vast as wire
from chalicelib.wire.json_body import WireError

SHELL = st.text(alphabet="aZ0 _-=$`'\"\\;|&<>(){}*?!#~\n\r\t\x00·é", max_size=40)


def body_of(label: str = "x", **changes: object) -> dict[str, object]:
    """A create's body."""
    fields: dict[str, object] = {"template_hash": None, "disk_gb": 16.0, "env": {}, "options": {}}
    return wire.create_body(label=label, **{**fields, **changes})  # type: ignore[arg-type]


def is_plain(name: str, value: str) -> bool:
    """A variable's name, and a value on one line."""
    is_name = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is not None
    return is_name and not set(value) & set("\n\r\x00")


@given(st.dictionaries(SHELL, SHELL, max_size=4))
def test_an_environment_arrives_verbatim_or_not_at_all(env: dict[str, str]) -> None:
    """Shell characters in values are plain text; odd names and line breaks are refused."""
    try:
        body = body_of(env=env)
    except WireError:
        assert not all(is_plain(name, value) for name, value in env.items())
        return
    assert json.loads(json.dumps(body))["env"] == env
    assert all(is_plain(name, value) for name, value in env.items())


@given(SHELL)
def test_a_label_arrives_verbatim_or_not_at_all(label: str) -> None:
    try:
        assert body_of(label)["label"] == label
    except WireError:
        assert not (label.strip() and label.isprintable() and label.isascii())


def test_launch_arguments_never_override_what_money_and_adoption_hang_on() -> None:
    options = {"label": "mine", "cancel_unavail": False, "price": 9.0, "env": {}, "disk": 999.0}
    body = body_of("ours", env={"A": "b"}, options={**options, "runtype": "ssh"})
    assert (body["label"], body["cancel_unavail"], body["price"]) == ("ours", True, None)
    assert (body["env"], body["disk"], body["runtype"]) == ({"A": "b"}, 16.0, "ssh")


@pytest.mark.parametrize("name", ["-p 3000:3000", "-p 1:2/tcp", "-p 53:53/udp", "A", "_a1"])
def test_variables_and_ports_are_taken(name: str) -> None:
    assert body_of(env={name: "1"})["env"] == {name: "1"}


@pytest.mark.parametrize(
    "name", ["-v /:/host", "--privileged", "-p 30-40:30-40", "-p 1:2 -v /:/x", "1A", ""]
)
def test_other_docker_flags_are_not(name: str) -> None:
    with pytest.raises(WireError, match="neither a variable nor"):
        body_of(env={name: "1"})


def test_a_query_cannot_ask_for_what_cannot_be_rented() -> None:
    query: wire.SearchQuery = {
        "rentable": {"eq": False},
        "direct_port_count": {"gte": 5},
        "rented": {"eq": True},
    }
    body = wire.search_body(query, disk_gb=16.0, limit=9)
    assert body["rentable"] == {"eq": True}
    assert (body["direct_port_count"], body["rented"]) == ({"gte": 5}, {"eq": True})


@given(st.lists(st.integers(1, 300), max_size=300))
def test_batches_hold_each_id_once_and_no_more_than_vast_takes(ids: list[int]) -> None:
    batches = wire.bulk_batches(ids)
    assert [i for batch in batches for i in batch] == list(dict.fromkeys(ids))
    assert all(0 < len(batch) <= wire.MAX_BULK_IDS for batch in batches)


def test_a_search_by_id_asks_for_the_field_that_vast_knows() -> None:
    body = wire.search_body({"id": {"eq": 5}}, disk_gb=16.0, limit=64)
    assert body["ask_contract_id"] == {"eq": 5}
    assert "id" not in body
