"""`/route/`: what clients of all ages send, and what is refused by name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.json_body import WireError
from chalicelib.wire.routing import RouteRequest, WaitingReply, grant_reply
from chalicelib.wire.ticket import Ticket


def read(**fields: object) -> RouteRequest:
    return RouteRequest.from_json(json.dumps({"endpoint": "ep1", **fields}))


def test_the_old_client_knows_no_request_idx() -> None:
    request = read(api_key="acct-key-1", cost=100.0)
    assert (request.endpoint, request.api_key, request.cost) == ("ep1", "acct-key-1", 100)
    assert request.request_idx is None


def test_the_sdk_starts_with_idx_zero() -> None:
    request = read(api_key="k", cost=50, request_idx=0, replay_timeout=60.0)
    assert (request.request_idx, request.cost, request.is_paced) == (0, 50, False)


def test_the_key_comes_in_the_header_the_body_or_the_query() -> None:
    body = json.dumps({"endpoint": "e", "api_key": "body"})
    assert RouteRequest.from_json(body, header_key="h", query_key="q").api_key == "h"
    assert RouteRequest.from_json(body, query_key="q").api_key == "body"
    assert RouteRequest.from_json(b"{}", query_key="q").api_key == "q"


@pytest.mark.parametrize(
    ("cost", "expected"), [(None, 100), ("7.5", 7.5), (" 1e2", 100), (0, 0), (1e9, 10**9), (2.0, 2)]
)
def test_costs_of_all_forms_are_understood(cost: object, expected: float) -> None:
    assert read(cost=cost).cost == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cost", -1),
        ("cost", 1e10),
        ("cost", "nan"),
        ("cost", "inf"),
        ("cost", "much"),
        ("cost", "1_0"),
        ("cost", "\uff11\uff10"),
        ("cost", "0x10"),
        ("cost", "1e999"),
        ("cost", True),
        ("cost", [1]),
        ("endpoint", 5),
        ("endpoint", ""),
        ("endpoint", "x" * 129),
        ("endpoint_id", "7"),
        ("endpoint_id", -1),
        ("request_idx", -1),
        ("request_idx", 1.5),
        ("request_idx", "5"),
        ("request_idx", 2**53),
    ],
)
def test_bad_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(WireError, match=field):
        read(**{field: value})


@pytest.mark.parametrize("written", ["1e400", "1e18", "-0.5", "much"])
def test_a_refused_cost_is_shown_as_it_was_written(written: str) -> None:
    with pytest.raises(WireError, match=f"^cost: '{written}' is not a number from 0 to 1e"):
        read(cost=written)


@given(
    st.dictionaries(
        st.sampled_from(["endpoint", "endpoint_id", "api_key", "cost", "request_idx", "paced"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
        | st.lists(st.integers()),
    )
)
def test_any_object_is_a_request_or_refused(fields: dict[str, object]) -> None:
    try:
        request = RouteRequest.from_json(json.dumps(fields))
    except WireError:
        return
    assert 0 <= request.cost <= 1e9


def test_a_grant_has_a_url_and_a_waiting_reply_has_none() -> None:
    ticket = Ticket(cost=1, endpoint="e", reqnum=2, request_idx=3, url="http://203.0.113.1:1")
    assert set(grant_reply(ticket, "c2ln", request_id="r")) == {
        "endpoint",
        "url",
        "cost",
        "reqnum",
        "request_idx",
        "signature",
        "__request_id",
    }
    waiting = WaitingReply(
        endpoint="e", request_idx=3, status="s", request_id="r", poll_after_s=1.0
    )
    assert set(waiting.to_json()) == {
        "endpoint",
        "request_idx",
        "status",
        "poll_after_s",
        "__request_id",
    }


def test_affinity_is_one_opaque_text_or_a_few() -> None:
    assert read().affinity == ()
    assert read(affinity=None, prefix_cost=None).prefix_cost is None
    assert read(affinity="9f2c").affinity == ("9f2c",)
    assert read(affinity=[]).affinity == ()
    request = read(affinity=["system", "gespräché"], prefix_cost=[10, 80.5])
    assert (request.affinity, request.prefix_cost) == (("system", "gespräché"), (10.0, 80.5))
    assert read(affinity="a", prefix_cost=3).prefix_cost == (3.0,)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"affinity": 7}, "a text, not int"),
        ({"affinity": {"a": 1}}, "a text, not dict"),
        ({"affinity": True}, "a text, not bool"),
        ({"affinity": ["a", None]}, "a text, not NoneType"),
        ({"affinity": ""}, "0 characters; allowed: 1 to 128"),
        ({"affinity": "x" * 129}, "129 characters; allowed: 1 to 128"),
        ({"affinity": ["a"] * 5}, "5 keys; allowed: 4"),
        ({"affinity": ["a", "b"], "prefix_cost": 1}, "1 numbers for 2 keys"),
        ({"prefix_cost": 1}, "1 numbers for 0 keys"),
        ({"affinity": "a", "prefix_cost": -1}, "prefix_cost: .-1. is not a number from 0"),
        ({"affinity": "a", "prefix_cost": [{}]}, "prefix_cost: '{}' is not a number"),
    ],
)
def test_a_bad_affinity_is_refused_by_what_is_wrong(fields: dict[str, object], words: str) -> None:
    with pytest.raises(WireError, match=words):
        read(**fields)


def test_a_refusal_does_not_repeat_what_may_be_a_prompt() -> None:
    prompt = "my secret prompt " * 20
    for value in (prompt, [prompt], {"text": prompt}):
        with pytest.raises(WireError) as caught:
            read(affinity=value)
        assert "secret" not in str(caught.value)
    assert "secret" not in repr(read(affinity="secret"))


def test_a_client_may_refuse_interruptible_workers_and_tell_of_a_stream() -> None:
    plain = RouteRequest.from_json('{"endpoint": "e"}')
    assert (plain.takes_interruptible, plain.is_stream) == (True, False)
    asked = RouteRequest.from_json('{"endpoint": "e", "interruptible": false, "stream": true}')
    assert (asked.takes_interruptible, asked.is_stream) == (False, True)


@pytest.mark.parametrize("name", ["interruptible", "stream"])
@pytest.mark.parametrize("value", ["1", '"no"', "[]"])
def test_a_flag_is_true_or_false(name: str, value: str) -> None:
    with pytest.raises(WireError, match=name):
        RouteRequest.from_json(f'{{"endpoint": "e", "{name}": {value}}}')
