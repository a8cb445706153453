"""One suite for both logs of events and of stats."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.adapters.aws.events import DynamoEventLog, DynamoSeriesLog
from chalicelib.ports.event_log import Event, EventLog, SeriesLog
from fakes.ports.event_log import FakeEventLog, FakeSeriesLog
from tests.conftest import TABLE_PREFIX


@pytest.fixture(params=["fake", "dynamo"])
def events(request: pytest.FixtureRequest) -> Iterator[EventLog]:
    if request.param == "fake":
        yield FakeEventLog()
    else:
        yield DynamoEventLog(request.getfixturevalue("dynamodb"), TABLE_PREFIX)


@pytest.fixture(params=["fake", "dynamo"])
def series(request: pytest.FixtureRequest) -> Iterator[SeriesLog]:
    if request.param == "fake":
        yield FakeSeriesLog()
    else:
        yield DynamoSeriesLog(request.getfixturevalue("dynamodb"), TABLE_PREFIX)


def make_event(at: float, scope: str = "endpoint:1", kind: str = "decision") -> Event:
    return Event(
        at=at, scope=scope, level="info0", kind=kind, message=f"at {at:g}", facts={"n": 1.5}
    )


def test_the_newest_come_oldest_first_with_all_they_hold(events: EventLog) -> None:
    events.append([make_event(9.0), make_event(1700000000.25), make_event(100.0)])
    tail = events.tail("endpoint:1", limit=2)
    assert [event.at for event in tail] == [100.0, 1700000000.25]
    assert tail[-1].facts == {"n": 1.5}
    assert tail[-1].message == "at 1.7e+09"
    assert tail[-1].event_id


def test_scope_kind_and_time_select(events: EventLog) -> None:
    events.append([make_event(1.0), make_event(2.0, kind="other"), make_event(3.0, "account")])
    assert [e.at for e in events.tail("endpoint:1", limit=9)] == [1.0, 2.0]
    assert [e.at for e in events.tail("endpoint:1", limit=9, since=1.5)] == [2.0]
    kinds = frozenset({"decision"})
    assert [e.at for e in events.tail("endpoint:1", limit=9, kinds=kinds)] == [1.0]
    assert events.tail("endpoint:2", limit=9) == []


def test_many_events_are_kept_even_of_one_moment(events: EventLog) -> None:
    events.append([make_event(5.0) for _ in range(60)])
    assert len(events.tail("endpoint:1", limit=100)) == 60
    assert len({e.event_id for e in events.tail("endpoint:1", limit=100)}) == 60


def test_minutes_are_replaced_and_come_oldest_first(series: SeriesLog) -> None:
    series.put("endpoint:1", 29_000_001, {"curload": 2.5, "ready:1x RTX 4090": 400.0})
    series.put("endpoint:1", 29_000_000, {"curload": 1.0})
    series.put("endpoint:1", 29_000_000, {"curload": 1.5})
    series.put("endpoint:2", 29_000_000, {"curload": 9.0})
    assert list(series.read("endpoint:1", 29_000_000, 29_000_001)) == [
        (29_000_000, {"curload": 1.5}),
        (29_000_001, {"curload": 2.5, "ready:1x RTX 4090": 400.0}),
    ]
    assert list(series.read("endpoint:1", 29_000_002, 29_000_009)) == []
