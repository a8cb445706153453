"""Two stages and the owner's own machines on one Vast account: each keeps to what is its own."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.core.fleet.intents import split_label, token_is_ours
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.market.panic import panic
from chalicelib.services.owner.views.status import read_status
from chalicelib.services.rounds.loop import scaling_loop
from tests.stories.day import OWNER, Day

TOUCHING = frozenset({Verb.START, Verb.STOP, Verb.DESTROY, Verb.REBOOT, Verb.BID})
FOREIGN_LABELS = ("", "training run", "llm", "llm - not a token", "llm · 0123456789abcdef01234567")


class Neighbours:
    """Stages dev and prod, each with a group of the same name, and five machines of the owner's."""

    def __init__(self) -> None:
        self.dev = Day(seed=2)
        self.prod = Day(seed=5, beside=self.dev)
        self.market = self.dev.world.market
        self.groups = {day: day.group("llm", cold_workers=1) for day in self.stages}
        self.rented: dict[Day, set[int]] = {day: set() for day in self.stages}  # ever
        self.n_settled = 0  # times that books and bill were equal
        self.foreign = {self.rent_by_hand(label) for label in FOREIGN_LABELS}

    @property
    def stages(self) -> tuple[Day, Day]:
        return self.dev, self.prod

    def rent_by_hand(self, label: str) -> int:
        """The owner rents at Vast's page."""
        now = self.dev.world.now
        offer = self.market.offers.search({"gpu_name": {"eq": "RTX 4090"}}, now)[0]
        body = {"label": label, "image": "mine:1", "disk": 10.0, "env": {}}
        return self.market.create(int(str(offer["id"])), body, now).instance_id

    def own(self, day: Day) -> set[int]:
        """What the market says that this stage has rented."""
        return {id_ for id_, one in self.market.instances.items() if day.world.has_rented(one)}

    def minutes(self, n: int, asks: dict[Day, int]) -> None:
        """A round of each stage a minute; each is held to its own machines."""
        for _ in range(n):
            for day in self.stages:
                day.world.ask(self.groups[day].endpoint_id, asks.get(day, 0))
                self.rented[day] |= self.own(day)
                self.market.calls.clear()
                scaling_loop(day.world.ports, deadline_at=day.world.now + 1)
                for call in self.market.calls:
                    if call.verb in TOUCHING:
                        assert {int(word) for word in call.detail.split()} <= self.rented[day], call
            self.dev.world.tick(60.0)
            assert self.foreign <= self.market.instances.keys()

    def status(self, day: Day) -> dict[str, Any]:
        """What `ballast status` of this stage shows."""
        return dict(read_status(day.world.owner_ports, OWNER, day.world.now))

    def check_books(self) -> None:
        """Each stage counts and bills its own machines, and is troubled by none of the others."""
        for day in self.stages:
            rows = {row.instance_id for row in day.world.workers.rows.values()}
            assert rows == self.own(day)
            status = self.status(day)
            hourly = sum(group["money"]["usd_per_hour"] for group in status["groups"])
            billed = sum(self.market.instances[id_].rate.total for id_ in self.own(day))
            assert hourly >= 0.99 * billed  # one that starts or stops counts until it is seen
            if day.n(WorkerState.READY, WorkerState.STOPPED) == len(rows):
                assert hourly == pytest.approx(billed, rel=0.01)
                self.n_settled += 1
            assert status["account"]["inventory"]["n_strays"] == 0
            assert not day.troubles().keys() & {
                "stray_machines", "adopted_unconfirmed", "label_changed", "inventory_unknown",
            }  # fmt: skip

    def spent(self, day: Day) -> tuple[float, float]:
        """Dollars today, by a stage's own words and by the market's bill for its machines."""
        status = self.status(day)
        mac = day.world.ports.secrets.mac
        billed = sum(
            one.total_usd
            for one in self.market.bill(day.world.now).by_instance.values()
            if any(token_is_ours(token, mac) for token in split_label(one.label))
        )
        return float(status["account"]["spent_today_usd"]), billed


def waves(account: Neighbours, hours: int) -> None:
    """The stages' demand comes and goes, out of step."""
    for hour in range(hours):
        busy, idle = account.stages if hour % 2 else account.stages[::-1]
        account.minutes(10, {busy: 60, idle: 0})
        account.check_books()
        account.minutes(50, {idle: 1})
        account.check_books()


@pytest.mark.parametrize("hours", [2, pytest.param(60, marks=pytest.mark.long)])
def test_stages_on_one_account_keep_to_their_own_machines(hours: int) -> None:
    account = Neighbours()
    waves(account, hours)
    assert account.n_settled > 2 * hours
    assert all(day.world.n_waiting == 0 for day in account.stages)
    assert all(day.world.n_served > 500 for day in account.stages)
    for day in account.stages if hours < 12 else ():  # since midnight: all of it
        told, billed = account.spent(day)
        assert told == pytest.approx(billed, rel=0.1)
    account.dev.panic()
    account.minutes(10, {account.prod: 1})
    assert account.own(account.dev) == set()
    assert account.prod.n(WorkerState.READY) >= 1
    account.prod.delete(account.groups[account.prod])
    account.minutes(10, {})
    assert set(account.market.instances) == account.foreign


def test_a_panic_from_the_owners_machine_names_the_other_stages_machines_and_leaves_them() -> None:
    account = Neighbours()
    account.minutes(8, {day: 30 for day in account.stages})
    ours, others = account.own(account.dev), account.own(account.prod)
    assert ours
    assert others
    report = panic(account.dev.world.ports)
    assert report.is_verified
    assert report.n_returned == len(ours)
    assert set(report.others) - account.foreign == others
    assert set(account.market.instances) == others | account.foreign
