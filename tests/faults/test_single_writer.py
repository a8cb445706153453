"""Single writer: loops side by side, duplicate events, killed rounds, old code beside new."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.ledger import FencedError
from chalicelib.services.rounds.loop import LEASE_S, scaling_loop
from chalicelib.services.rounds.round import run_round
from fakes.bundles.faulty_ports import Break, Killed, Meanwhile, Mode, OutgoingCalls
from fakes.worlds.world import World


class _Interleaved:
    """Runs other loops in the middle of this one, at its n-th outgoing call."""

    def __init__(self, world: World, at_call: int, lets_lease_expire: bool) -> None:
        self.world, self.lets_lease_expire = world, lets_lease_expire
        self.calls = OutgoingCalls(meanwhile=Meanwhile(at_call, self._run_others))
        self.ports = self.calls.wrap(world.owner_ports)
        self.others: list[object] = []

    def _run_others(self) -> None:
        if self.lets_lease_expire:
            self.world.clock.advance(LEASE_S + 1)
        for _ in range(2):
            ports = self.world.owner_ports
            self.others.append(scaling_loop(ports, deadline_at=self.world.now + 1))


def _world() -> tuple[World, int]:
    world = World(seed=2)
    group = world.add_group(min_load=150.0, max_workers=3)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    world.tick(5)
    return world, group.endpoint_id


def _settled(world: World, n: int = 8) -> None:
    for _ in range(n):
        scaling_loop(world.owner_ports, deadline_at=world.now + 1)
        world.tick(30)


def _check_no_extra_rental(world: World) -> None:
    rows = {row.instance_id for row in world.workers.rows.values()}
    assert rows == set(world.market.instances)
    assert len(rows) <= 3
    labels = [instance.label for instance in world.market.instances.values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("at_call", range(0, 40))
def test_loops_beside_a_living_one_do_nothing(at_call: int) -> None:
    world, _ = _world()
    loop = _Interleaved(world, at_call, lets_lease_expire=False)
    scaling_loop(loop.ports, deadline_at=world.now + 1)
    if 0 < at_call < len(loop.calls.names) - 1:
        assert loop.others == [[], []]
    _settled(world)
    _check_no_extra_rental(world)


@pytest.mark.parametrize("at_call", range(1, 40))
def test_a_loop_that_lost_its_lease_writes_nothing_more_and_rents_nothing_twice(
    at_call: int,
) -> None:
    world, _ = _world()
    loop = _Interleaved(world, at_call, lets_lease_expire=True)
    scaling_loop(loop.ports, deadline_at=world.now + 1)
    _settled(world)
    _check_no_extra_rental(world)
    assert not any(intent.is_open for intent in world.ledger.intents())


def test_a_fenced_round_stops_at_its_first_write() -> None:
    world, _ = _world()
    lease = world.ledger.take_lease("old", world.now, 1.0)
    assert lease is not None
    world.clock.advance(2.0)
    assert world.ledger.take_lease("new", world.now, 60.0)
    n_calls = len(world.market.calls)
    with pytest.raises(FencedError):
        run_round(world.ports, lease.fence, lease.account)
    changing = {Verb.CREATE, Verb.DESTROY, Verb.START, Verb.STOP, Verb.REBOOT}
    assert not changing & {call.verb for call in list(world.market.calls)[n_calls:]}


def test_a_killed_round_holds_the_lease_no_longer_than_it_lasts() -> None:
    world, _ = _world()
    calls = OutgoingCalls(Break(12, Mode.KILLED_AFTER))
    with pytest.raises(Killed):
        scaling_loop(calls.wrap(world.owner_ports), deadline_at=world.now + 1)
    assert not scaling_loop(world.ports, deadline_at=world.now + 1)
    world.clock.advance(61.0)
    assert scaling_loop(world.ports, deadline_at=world.now + 1)


def test_code_older_than_what_wrote_the_account_runs_no_round() -> None:
    world, _ = _world()
    world.ledger.account_now = replace(world.ledger.account_now, schema_version=99)
    n_calls = len(world.market.calls)
    assert not scaling_loop(world.ports, deadline_at=world.now + 1)
    assert len(world.market.calls) == n_calls


def test_fifty_schedule_events_at_once_make_one_round() -> None:
    world, _ = _world()
    world.ledger.take_lease("running", world.now, 60.0)
    results = [scaling_loop(world.ports, deadline_at=world.now + 1) for _ in range(50)]
    assert results == [[]] * 50
