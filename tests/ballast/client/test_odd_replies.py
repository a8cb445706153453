"""Replies and streams as they may come: nothing but the SDK's own errors leaves their readers."""

from __future__ import annotations

import json

import pytest

from ballast.client.errors import RouteRefusedError
from ballast.client.route_reply import Grant, parse_route_reply
from ballast.client.sse import event_data

GRANT = {"url": "https://203.0.113.9:40000", "request_idx": 5, "signature": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps({**GRANT, "certificate_sha256": "zz"}),
        json.dumps({**GRANT, "certificate_sha256": 5}),
        json.dumps({**GRANT, "certificate_sha256": "ab" * 31}),
        json.dumps({**GRANT, "url": None}),
    ],
)
def test_a_reply_that_makes_no_sense_is_refused_in_words(text: str) -> None:
    with pytest.raises(RouteRefusedError):
        parse_route_reply(200, text)


@pytest.mark.parametrize("pinned", ["", None, "AB" * 32])
def test_a_grant_may_pin_a_certificate(pinned: str | None) -> None:
    reply = parse_route_reply(200, json.dumps({**GRANT, "certificate_sha256": pinned}))
    assert isinstance(reply, Grant)
    assert reply.certificate_sha256 == (pinned or "")


@pytest.mark.parametrize(
    ("chunks", "data"),
    [
        ([b"data: a\xff\n\n", b"data: b\n\n"], ["a\ufffd", "b"]),  # was an UnicodeDecodeError
        ([b"data: a\n\ndata: \xe2\x82"], ["a", "\ufffd"]),  # cut within a character
        ([b"data: \xe2", b"\x82\xac\n\n"], ["€"]),
        ([b"\xef\xbb\xbfdata: x\n\n"], ["x"]),
    ],
)
def test_a_stream_is_read_as_browsers_read_it(chunks: list[bytes], data: list[str]) -> None:
    assert list(event_data(chunks)) == data
