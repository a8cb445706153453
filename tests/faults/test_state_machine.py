"""Reconciler and marketplace as a state machine: Hypothesis looks for the shortest bad story."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chalicelib.core.fleet.intents import split_label
from chalicelib.services.rounds.loop import LEASE_S, scaling_loop
from fakes.bundles.faulty_ports import Break, Killed, Mode, OutgoingCalls
from fakes.worlds.world import World

MAX_WORKERS = 3
FAULTS = (
    "create-timeout-rented",
    "create-timeout-not-rented",
    "success-false-contract",
    "offer-gone",
    "destroy-fails",
    "destroy-404",
    "empty-list",
    "html-list",
    "listing-lags",
    "market-down",
    "start-refused",
    "interrupted",
)


class Reconciler(RuleBasedStateMachine):
    """Rounds, deaths, faults and owners' changes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(seed=1)
        self.group = self.world.add_group(max_workers=MAX_WORKERS, cold_workers=0)
        self.on: set[str] = set()

    @rule(n=st.integers(1, 4))
    def clients_ask(self, n: int) -> None:
        self.world.ask(self.group.endpoint_id, n)

    @rule(seconds=st.sampled_from((5.0, 20.0, 70.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule()
    def round_runs(self) -> None:
        scaling_loop(self.world.owner_ports, deadline_at=self.world.now + 1)

    @rule(at_call=st.integers(0, 35), mode=st.sampled_from(Mode))
    def round_breaks(self, at_call: int, mode: Mode) -> None:
        ports = OutgoingCalls(Break(at_call, mode)).wrap(self.world.owner_ports)
        try:
            scaling_loop(ports, deadline_at=self.world.now + 1)
        except Killed:
            return

    @rule(fault=st.sampled_from(FAULTS))
    def fault_begins(self, fault: str) -> None:
        self.world.market.switch_on(fault, self.world.now)
        self.on.add(fault)

    @precondition(lambda self: self.on)
    @rule()
    def faults_end(self) -> None:
        for fault in sorted(self.on):
            self.world.market.switch_off(fault, self.world.now)
        self.on.clear()

    @rule()
    def machines_vanish(self) -> None:
        ids = list(self.world.market.instances)[:1]
        if ids and "destroy-fails" not in self.on and "destroy-404" not in self.on:
            self.world.market.destroy(ids, self.world.now)

    @invariant()
    def caps_hold(self) -> None:
        account = self.world.ledger.account()
        peak = self.world.market.bill(self.world.now).peak_usd_per_hour
        assert peak * 1e6 <= account.caps_microusd_per_hour

    @invariant()
    def no_token_is_rented_twice(self) -> None:
        labels = [dict(split_label(i.label)) for i in self.world.market.instances.values()]
        assert all(len(label) == 1 for label in labels)
        assert len({token for label in labels for token in label}) == len(labels)

    @invariant()
    def never_too_many(self) -> None:
        living = [i for i in self.world.market.instances.values() if not i.is_destroyed]
        assert len(living) <= MAX_WORKERS

    def teardown(self) -> None:
        """Healed, everything adds up and is served."""
        self.faults_end()
        self.world.clock.advance(LEASE_S + 1)
        for _ in range(8):
            scaling_loop(self.world.owner_ports, deadline_at=self.world.now + 1)
            self.world.tick(60.0)
        rows = {row.instance_id for row in self.world.workers.rows.values()}
        assert rows == set(self.world.market.instances)
        assert not any(intent.is_open for intent in self.world.ledger.intents())


TestReconciler = Reconciler.TestCase
TestReconciler.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
