"""Notifications: what needs a human is told once, and a broken webhook breaks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chalicelib.ports.clock import Clock
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.event_log import Event, EventLog
from chalicelib.ports.notifier import Notifier
from chalicelib.services.notifications import REPEAT_AFTER_S, TITLES, deliver_notices, notices_from
from fakes.notifier import FakeNotifier

HOUR_S = 3_600.0


class SettableClock:
    """A clock that the test moves."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class ListLog:
    """An event log in a list, which may be down."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_down = False

    def append(self, events: Sequence[Event]) -> None:
        if self.is_down:
            raise StorageUnavailableError("throttled")
        self.events.extend(events)

    def tail(
        self, scope: str, *, limit: int, since: float = 0.0, kinds: frozenset[str] | None = None
    ) -> Sequence[Event]:
        if self.is_down:
            raise StorageUnavailableError("throttled")
        found = [e for e in self.events if e.scope == scope and e.at >= since]
        return [e for e in found if kinds is None or e.kind in kinds][-limit:]


@dataclass
class Ports:
    """Just what the service needs."""

    clock: Clock
    events: EventLog
    notifiers: Sequence[Notifier] = field(default_factory=tuple)


def happened(kind: str, *, scope: str = "endpoint:1", at: float = HOUR_S) -> Event:
    return Event(at=at, scope=scope, level="info0", kind=kind, message="5.00 $/h is committed")


def test_only_kinds_that_need_a_human_become_notices_one_per_kind_and_scope() -> None:
    events = [
        happened("decision"),
        happened("cap_reached", at=1),
        happened("cap_reached", at=2),
        happened("cap_reached", scope="account"),
    ]
    notices = notices_from(events)
    assert [(n.kind, n.scope, n.at) for n in notices] == [
        ("cap_reached", "endpoint:1", 2),
        ("cap_reached", "account", HOUR_S),
    ]
    assert notices[0].runbook == "docs/runbook.md#cap-reached"


def test_the_same_trouble_is_told_once_in_half_an_hour() -> None:
    clock, log, owner = SettableClock(HOUR_S), ListLog(), FakeNotifier()
    ports = Ports(clock, log, (owner,))
    assert deliver_notices(ports, [happened("cap_reached")]) == 1
    clock.time += REPEAT_AFTER_S - 1
    assert deliver_notices(ports, [happened("cap_reached")]) == 0
    assert deliver_notices(ports, [happened("breaker_open")]) == 1
    assert deliver_notices(ports, [happened("cap_reached", scope="account")]) == 1
    clock.time += 2
    assert deliver_notices(ports, [happened("cap_reached")]) == 1
    assert len(owner.sent) == 4


def test_a_failed_delivery_is_an_event_stops_no_other_and_is_tried_again() -> None:
    log, broken, healthy = ListLog(), FakeNotifier(), FakeNotifier()
    broken.problem = "HTTP 500"
    ports = Ports(SettableClock(HOUR_S), log, (broken, healthy))
    assert deliver_notices(ports, [happened("stray_machines")]) == 1
    assert [e.kind for e in log.events] == ["notification_failed", "notified"]

    lonely = Ports(SettableClock(HOUR_S), ListLog(), (broken,))
    assert deliver_notices(lonely, [happened("stray_machines")]) == 0
    broken.problem = ""
    assert deliver_notices(lonely, [happened("stray_machines")]) == 1


def test_when_the_log_is_down_the_owner_is_told_all_the_same() -> None:
    log, owner = ListLog(), FakeNotifier()
    log.is_down = True
    assert deliver_notices(Ports(SettableClock(0), log, (owner,)), [happened("panic")]) == 1


def test_without_notifiers_nothing_is_read_or_written() -> None:
    log = ListLog()
    log.is_down = True
    assert deliver_notices(Ports(SettableClock(0), log), [happened("panic")]) == 0


def test_the_runbook_has_a_section_for_every_kind() -> None:
    with open("docs/runbook.md", encoding="utf-8") as runbook:
        text = runbook.read()
    missing = [kind for kind in TITLES if f"\n## {kind.replace('_', '-')}\n" not in text]
    assert missing == []
