"""Panic with the Vast key alone: what its owner names goes, and is seen gone; nothing else does."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.core.fleet.intents import LISTING_LAG_S
from chalicelib.core.model.market import InstanceRecord
from chalicelib.services.market.panic_by_label import panic_by_label
from tests.drift.drifting_world import DriftingWorld, answers, edits

TOKEN = "0123456789abcdef01234567"


def a_fleet() -> tuple[DriftingWorld, list[int], int]:
    """Two machines with labels of our form, and one of the owner's own."""
    drifting = DriftingWorld()
    ours = [drifting.rent_by_owner(f"llm - {digit}{TOKEN[1:]}") for digit in "ab"]
    return drifting, ours, drifting.rent_by_owner("my own")


def everything(labelled: Sequence[InstanceRecord]) -> list[int]:
    """An owner who is sure."""
    return [record.instance_id for record in labelled]


def alive(drifting: DriftingWorld) -> set[int]:
    """What Vast still has."""
    return {i.instance_id for i in drifting.world.market.instances.values() if not i.is_destroyed}


def test_what_is_named_goes_and_is_seen_gone() -> None:
    drifting, ours, own = a_fleet()
    world = drifting.world
    report = panic_by_label(world.ports.marketplace, world.clock, everything)
    assert report.is_verified
    assert report.n_returned == 2
    assert not report.left
    assert alive(drifting) == {own}
    assert not set(ours) & alive(drifting)


def test_each_is_asked_for_by_itself_and_what_stays_is_named() -> None:
    drifting, ours, own = a_fleet()
    world = drifting.world
    report = panic_by_label(world.ports.marketplace, world.clock, lambda _labelled: [ours[0]])
    assert report.is_verified
    assert report.unjudged == (ours[1],)
    assert alive(drifting) == {ours[1], own}


def test_what_is_rented_meanwhile_was_shown_to_nobody_and_nothing_is_verified() -> None:
    drifting, _, own = a_fleet()
    world = drifting.world
    new: list[int] = []

    def choose(labelled: Sequence[InstanceRecord]) -> list[int]:
        new.append(drifting.rent_by_owner(f"llm - c{TOKEN[1:]}"))  # the deployment lives
        return everything(labelled)

    report = panic_by_label(world.ports.marketplace, world.clock, choose)
    assert not report.is_verified
    assert (report.n_returned, report.left) == (2, tuple(new))
    assert alive(drifting) == {own, *new}


def test_what_will_not_go_is_named() -> None:
    drifting, ours, _ = a_fleet()
    world = drifting.world
    drifting.drift = {"destroy": answers(200, {"success": True})}
    report = panic_by_label(world.ports.marketplace, world.clock, everything, gives_up_s=60.0)
    assert not report.is_verified
    assert report.left == tuple(sorted(ours))


def test_a_listing_that_cannot_be_believed_chooses_nothing() -> None:
    drifting, _, _ = a_fleet()
    world = drifting.world
    drifting.drift = {"list": edits(lambda body: body.update(total_instances=9))}
    before = alive(drifting)
    report = panic_by_label(world.ports.marketplace, world.clock, everything, gives_up_s=60.0)
    assert not report.is_verified
    assert report.problems
    assert alive(drifting) == before


def test_an_account_without_such_labels_is_said_to_have_none() -> None:
    drifting = DriftingWorld()
    drifting.rent_by_owner("my own")
    world = drifting.world
    began = world.clock.now()
    report = panic_by_label(world.ports.marketplace, world.clock, everything)
    assert (report.is_verified, report.n_returned) == (True, 0)
    assert world.clock.now() - began >= LISTING_LAG_S, "one empty list alone may be wrong"


def test_a_list_that_is_empty_for_a_moment_hides_no_machine() -> None:
    drifting, ours, own = a_fleet()
    world = drifting.world
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        drifting.drift = {}  # the next list is whole

    drifting.drift = {"list": edits(lambda body: body.update(instances=[], total_instances=0))}
    report = panic_by_label(world.ports.marketplace, world.clock, everything, tell=tell)
    assert (report.is_verified, report.n_returned) == (True, len(ours))
    assert alive(drifting) == {own}
    assert told[:2] == ["0 machines left", "2 machines left"]
