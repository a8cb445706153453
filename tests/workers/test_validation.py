"""Bad requests get 422 with a message per field, never a 500, and never reach the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.world import prompt, world
from workers.hello_world.server import BACK_END as HELLO
from workers.pyworker.serving.envelope import EnvelopeError, parse_envelope
from workers.pyworker.serving.reading import SCANNED

AUTH = '"auth_data": {"signature": "x"}'
CASES = [
    (b"", "error"),
    (b"not json", "error"),
    (b"[]", "error"),
    (b'"text"', "error"),
    (b"null", "error"),
    (b'{"payload": {}}', "auth_data"),
    (b"{" + AUTH.encode() + b"}", "payload"),
    (b'{"auth_data": null, "payload": {}}', "auth_data"),
    (b'{"auth_data": [], "payload": {}}', "auth_data"),
    (b'{"auth_data": {}, "payload": {}}', "auth_data"),
    (b'{"auth_data": {"signature": 7}, "payload": {}}', "auth_data"),
    (b"{" + AUTH.encode() + b', "payload": "text"}', "payload"),
    (b"{" + AUTH.encode() + b', "payload": {}, "session_id": 5}', "session_id"),
    (b"{" + AUTH.encode() + b', "payload": {"x": NaN}}', "error"),
    (b"{" + AUTH.encode() + b', "payload": {"x": 1e999}}', "error"),
    (b"{" + AUTH.encode() + b', "payload": ' + b'{"x":' * 50_000 + b"1" + b"}" * 50_001, "error"),
    # Python reads it, and ends what calls itself for each level: cost rules, copies, writers.
    (b"{" + AUTH.encode() + b', "payload": {"prompt": ' + b"[" * 500 + b"]" * 500 + b"}}", "error"),
    (b"\xff\xfe{}", "error"),
    (b"{" + AUTH.encode() + b', "payload": {"x": ' + b"9" * 5000 + b"}}", "error"),
]


@pytest.mark.parametrize(("body", "field"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_each_bad_field_is_named(body: bytes, field: str) -> None:
    with pytest.raises(EnvelopeError) as caught:
        parse_envelope(body)
    assert field in caught.value.fields


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_a_request_or_named_as_wrong(value: object) -> None:
    problem: EnvelopeError | None = None
    try:
        parse_envelope(json.dumps(value).encode())
    except EnvelopeError as error:
        problem = error
    assert problem is None or problem.fields


@settings(max_examples=40)
@given(st.dictionaries(st.text(), json_values))
def test_a_payload_is_carried_on_as_the_equal_value(payload: dict[str, object]) -> None:
    try:
        text = json.dumps(payload, allow_nan=False)
    except ValueError:
        return
    envelope = parse_envelope(f'{{{AUTH}, "payload": {text}}}'.encode())
    assert envelope.payload == payload


async def test_over_http_the_answer_is_422_and_the_model_sees_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        url = it.worker.settings.url + "/generate"
        for body, field in CASES:
            async with it.http.post(url, data=body) as answer:
                is_small = len(body) <= SCANNED  # a larger one needs a ticket to be read
                assert answer.status == (422 if is_small else 401)
                assert not is_small or field in await answer.json()
        assert it.model.bodies == []


BAD_PAYLOADS: list[tuple[object, str]] = [
    ({}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": "x", "max_response_tokens": -1}, "max_response_tokens"),
    ({"prompt": "x", "max_response_tokens": "many"}, "max_response_tokens"),
    ({"prompt": "x", "max_response_tokens": 1e300}, "max_response_tokens"),
]
QUICK_HELLO = replace(
    HELLO, health_path="/health", benchmark=replace(HELLO.benchmark, n_rounds=1, concurrency=1)
)


async def test_a_bad_payload_is_named_and_accounted(tmp_path: Path) -> None:
    """By a back end whose model server would not say it."""
    async with world(tmp_path, QUICK_HELLO) as it:
        for payload, field in BAD_PAYLOADS:
            status, body = await it.post(payload=payload)
            assert status == 422, payload
            assert field in json.loads(body)["payload"]
        assert it.model.bodies == []
        cost = 100 * len(BAD_PAYLOADS)
        await it.until(lambda: it.counters().get("rejected_load") == cost, "it is accounted")


async def test_what_a_model_server_refuses_itself_is_nobodys_error(tmp_path: Path) -> None:
    """TGI says what it does not take; its words pass, and the work was not done."""
    async with world(tmp_path) as it:
        status, body = await it.post(payload={"inputs": 5})
        assert (status, json.loads(body)) == (422, {"error": "Input validation error"})
        assert (await it.post(payload=prompt(max_new_tokens=10**9, status=400)))[0] == 400
        await it.until(lambda: it.counters().get("n_refused") == 2, "they are counted")
        assert it.counters()["n_errored"] == it.counters()["n_served"] == 0
        assert it.counters()["cur_perf"] == it.counters()["served_workload"] == 0
        assert [r["used"] for r in it.control_plane.finished] == [0, 0]
