"""Answers beyond what Lambda gives back: 6 MB, above which a caller saw only a 500."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.api.size import MAX_ANSWER, SMALL_CHARS, fitted
from tests.api.over_fakes import Api

ROWS = json.dumps(["é" * (MAX_ANSWER // 6)], ensure_ascii=False)  # six bytes each once more in JSON


def event(accept: str | None, version: str | None = "1.0") -> dict[str, Any]:
    headers = {} if accept is None else {"Accept-Encoding": accept}
    return {"headers": headers, **({"version": version} if version else {})}


def answer(text: str) -> dict[str, Any]:
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": text}


@pytest.mark.parametrize(
    "accept", ["gzip", "deflate, GZIP;q=0.5, br", "gzip, deflate", "x-gzip,*;q=0"]
)
def test_who_takes_it_packed_gets_it_packed(accept: str) -> None:
    assert len(json.dumps(answer(ROWS))) > MAX_ANSWER
    packed = fitted(answer(ROWS), event(accept))
    assert packed["headers"] == {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert len(json.dumps(packed)) < MAX_ANSWER
    assert gzip.decompress(base64.b64decode(packed["body"])).decode() == ROWS


@pytest.mark.parametrize(
    ("accept", "version"),
    [(None, "1.0"), ("", "1.0"), ("identity", "1.0"), ("gzip;q=0, br", "1.0"),
     ("gzip;q=0.00", "1.0"), ("gzip", None)],  # None: the REST API, which unpacks no JSON
)  # fmt: skip
def test_who_does_not_is_told_what_to_do(accept: str | None, version: str | None) -> None:
    refused = fitted(answer(ROWS), event(accept, version))
    assert refused["statusCode"] == 413
    assert "one group at a time" in json.loads(refused["body"])["msg"]


def test_what_is_small_or_packed_already_is_left_alone() -> None:
    small, bundle = (
        answer("x" * SMALL_CHARS),
        {**answer("y" * (SMALL_CHARS + 1)), "isBase64Encoded": True},
    )
    assert fitted(small, event("gzip")) is small
    assert fitted(bundle, event("gzip")) is bundle
    middle = answer("z" * (SMALL_CHARS + 1))
    assert fitted(middle, event(None)) is middle


def test_a_deployment_of_many_groups_still_lists_them() -> None:
    """The vendor's SDK finds a group by listing all: at 7,000 groups it would find none."""
    api = Api()
    floors = [{"cron": "0 8 * * mon-fri", "duration_s": 3600, "min_load": 9}] * 32
    group = api.groups.groups[api.create_endpoint("chat", schedules=floors)]
    for n in range(1000, 1400):
        api.groups.groups[n] = replace(group, endpoint_id=n, name=f"a-group-of-a-usual-name-{n}")
    got = api.call("GET", "/api/v0/endptjobs/", headers={"Accept-Encoding": "gzip, deflate"})
    assert got.headers["Content-Encoding"] == "gzip"
    listed = json.loads(gzip.decompress(base64.b64decode(got.text)))
    assert len(listed["results"]) == 401
