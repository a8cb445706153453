"""JSON bodies are taken strictly, whatever peers call them."""

from __future__ import annotations

import contextlib
import json
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.json_body import MAX_BODY_BYTES, WireError, parse_json_object


@pytest.mark.parametrize("raw", [None, "", b"", b"  \n"])
def test_an_empty_body_is_an_empty_object(raw: bytes | str | None) -> None:
    assert parse_json_object(raw) == {}


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too large"),
        (b"[1]", "list"),
        (b'"text"', "str"),
        (b"{", "not JSON"),
        (b'{"a": -5, "a": 0}', "'a' is there twice"),
        (b'{"a": [{"b": 1, "b": 1}]}', "'b' is there twice"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested"),
        (b"[" * 20_000, "nested"),
        (b'{"a": "' + b"x" * MAX_BODY_BYTES + b'"}', "bytes"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(raw: bytes, named: str) -> None:
    with pytest.raises(WireError, match=named):
        parse_json_object(raw)


def test_finding_what_is_there_twice_takes_as_long_as_reading_it() -> None:
    """Each name was counted among all others: 68 kB of a stranger's took 3 s of a function."""

    def seconds(raw: bytes) -> float:
        def read() -> None:
            with pytest.raises(WireError):
                parse_json_object(raw)

        return min(timeit.repeat(read, number=1, repeat=5))

    names = b",".join(b'"%d":1' % n for n in range(6_000))
    half_a_pair = seconds(b"{" + names + b',"x":"\\ud800"}')
    assert seconds(b"{" + names + b',"5999":1}') < 5 * half_a_pair


SIMPLE = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=20)


@given(st.dictionaries(st.text(max_size=9), SIMPLE | st.lists(SIMPLE, max_size=4), max_size=6))
def test_any_modest_object_comes_through(value: dict[str, object]) -> None:
    try:
        encoded = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert parse_json_object(encoded) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(parse_json_object(raw), dict)
