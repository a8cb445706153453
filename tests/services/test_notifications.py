"""Notifications: what needs a human is told once, and a broken webhook breaks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.ports.clock import Clock
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.event_log import Event, EventLog
from chalicelib.ports.notifier import Notice, Notifier, NotifierError
from chalicelib.services.rounds.journal.notifications import (
    REPEAT_AFTER_S,
    TITLES,
    deliver_notices,
    notices_from,
)
from fakes.ports.notifier import FakeNotifier
from fakes.worlds.world import World
from tests.faults.stories import run_rounds, serving_world

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
    assert deliver_notices(ports, [happened("cap_reached")]).n_sent == 1
    clock.time += REPEAT_AFTER_S - 1
    assert deliver_notices(ports, [happened("cap_reached")]).n_sent == 0
    assert deliver_notices(ports, [happened("breaker_open")]).n_sent == 1
    assert deliver_notices(ports, [happened("cap_reached", scope="account")]).n_sent == 1
    clock.time += 2
    assert deliver_notices(ports, [happened("cap_reached")]).n_sent == 1
    assert len(owner.sent) == 4


def test_a_failed_delivery_is_an_event_stops_no_other_and_is_tried_again() -> None:
    log, broken, healthy = ListLog(), FakeNotifier(), FakeNotifier()
    broken.problem = "HTTP 500"
    ports = Ports(SettableClock(HOUR_S), log, (broken, healthy))
    assert deliver_notices(ports, [happened("stray_machines")]).n_sent == 1
    assert [e.kind for e in log.events] == ["notification_failed", "notified"]

    lonely = Ports(SettableClock(HOUR_S), ListLog(), (broken,))
    assert deliver_notices(lonely, [happened("stray_machines")]).n_sent == 0
    broken.problem = ""
    assert deliver_notices(lonely, [happened("stray_machines")]).n_sent == 1


class HangingNotifier:
    """Takes its time, and then fails."""

    name = "hangs"

    def __init__(self, clock: SettableClock) -> None:
        self.clock = clock
        self.n_asked = 0

    def send(self, notice: Notice) -> None:
        self.n_asked += 1
        self.clock.sleep(3.0)
        raise NotifierError("SNS: ReadTimeoutError")


def test_a_topic_that_hangs_holds_a_round_for_seconds_however_much_there_is_to_tell() -> None:
    clock = SettableClock(HOUR_S)
    hangs = HangingNotifier(clock)
    ports = Ports(clock, ListLog(), [hangs])
    troubles = [happened("no_offers", scope=f"endpoint:{n}") for n in range(200)]
    sent = deliver_notices(ports, troubles)
    assert clock.now() - HOUR_S <= 7.0
    assert hangs.n_asked == 2
    assert (sent.n_sent, sent.problem) == (0, "SNS: ReadTimeoutError")
    ports.notifiers = [FakeNotifier()]
    clock.sleep(300.0)
    assert deliver_notices(ports, troubles).n_sent == 200, "what was left is told later"


def test_when_the_log_is_down_the_owner_is_told_all_the_same() -> None:
    log, owner = ListLog(), FakeNotifier()
    log.is_down = True
    assert deliver_notices(Ports(SettableClock(0), log, (owner,)), [happened("panic")]).n_sent == 1


def test_without_notifiers_nothing_is_read_or_written() -> None:
    log = ListLog()
    log.is_down = True
    assert deliver_notices(Ports(SettableClock(0), log), [happened("panic")]).n_sent == 0


def test_the_runbook_has_a_section_for_every_kind() -> None:
    with open("docs/runbook.md", encoding="utf-8") as runbook:
        text = runbook.read()
    missing = [kind for kind in TITLES if f"\n## {kind.replace('_', '-')}\n" not in text]
    assert missing == []


def told_by(world: World) -> list[str]:
    """Kinds of the notices that the owner got."""
    (owner,) = world.owner_ports.notifiers
    assert isinstance(owner, FakeNotifier)
    return [notice.kind for notice in owner.sent]


def test_an_inventory_in_doubt_is_told_after_five_minutes_and_a_blip_never() -> None:
    world, _ = serving_world(1)
    world.market.switch_on("html-list", world.now)
    run_rounds(world, 8, every_s=30.0)
    world.market.switch_off("html-list", world.now)
    run_rounds(world, 20, every_s=30.0)
    assert told_by(world) == []
    world.market.switch_on("html-list", world.now)
    run_rounds(world, 12, every_s=30.0)
    assert told_by(world) == ["inventory_unknown"]
    run_rounds(world, 30, every_s=30.0)
    assert told_by(world) == ["inventory_unknown"]


def test_a_notice_that_could_not_be_sent_is_sent_some_minutes_later() -> None:
    world, _ = serving_world(1)
    (owner,) = world.owner_ports.notifiers
    assert isinstance(owner, FakeNotifier)
    owner.problem = "HTTP 500"
    world.ledger.set_flags(is_panicking=True)
    run_rounds(world, 4, every_s=30.0)
    assert owner.sent == []
    owner.problem = ""
    run_rounds(world, 20, every_s=30.0)
    assert told_by(world).count("panic") == 1


def test_machines_with_our_label_that_nobody_knows_are_told_and_counted() -> None:
    world, endpoint_id = serving_world(1)
    world.ledger.by_token.clear()
    world.workers.rows.clear()
    group = world.owner_ports.groups.find_group(endpoint_id)
    assert group is not None
    renamed = replace(group, name="another", revision=group.revision + 1)
    world.owner_ports.groups.put_group(renamed, expected_revision=group.revision)
    run_rounds(world, 14, every_s=30.0)
    assert "stray_machines" in told_by(world)
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    assert memory.n_strays >= 1


def test_a_reached_cap_and_a_template_that_only_fails_are_told() -> None:
    world, _ = serving_world(1)
    world.ledger.set_caps({"caps_microusd_per_hour": 1})
    run_rounds(world, 3)
    assert "cap_reached" in told_by(world)

    failing = World()
    failing.boot_error = "HF_TOKEN must be set"
    failing.add_group(min_load=300.0)
    run_rounds(failing, 60, every_s=30.0)
    assert "breaker_open" in told_by(failing)


@pytest.mark.parametrize("kind", TITLES)
def test_every_notice_has_its_entry_in_the_runbook(kind: str) -> None:
    (notice,) = notices_from([happened(kind)])
    path, _, anchor = notice.runbook.partition("#")
    assert f"\n## {anchor}\n" in (Path(__file__).parent.parent.parent / path).read_text()


def test_an_alert_that_reaches_nobody_is_a_trouble_until_somebody_hears() -> None:
    world, _ = serving_world(1)
    (owner,) = world.owner_ports.notifiers
    assert isinstance(owner, FakeNotifier)
    owner.problem = "no receiver is confirmed"
    world.market.switch_on("html-list", world.now)
    run_rounds(world, 20, every_s=30.0)
    assert troubles_of(world) == {"inventory_unknown", "alerts_unheard"}
    world.market.switch_off("html-list", world.now)
    run_rounds(world, 150, every_s=30.0)
    assert troubles_of(world) == {"alerts_unheard"}  # an hour after what it was about
    owner.problem = ""
    run_rounds(world, 20, every_s=30.0)
    assert told_by(world) == ["alerts_unheard"]
    assert troubles_of(world) == set()


def troubles_of(world: World) -> set[str]:
    """Kinds of what stands now."""
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    return {one.kind for one in memory.troubles.values() if one.is_present}
