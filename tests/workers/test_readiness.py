"""Readiness: an error is told at least once, and perf of a ready worker alone."""

from __future__ import annotations

from workers.pyworker.readiness import Phase, Readiness


def test_the_shortest_error_stays_until_it_was_told() -> None:
    it = Readiness(0.0)
    it.model_loaded()
    it.benchmarked(100.0, 5.0)
    it.model_gone("the engine is dead", 10.0)
    it.model_loaded()  # its health route answers at once
    assert (it.error, it.phase) == ("the engine is dead", Phase.BENCHMARKING)
    it.told("")  # a report that was on its way
    assert it.error == "the engine is dead"
    it.told("the engine is dead")
    assert (it.error, it.is_ready) == ("", False)
    it.benchmarked(90.0, 20.0)
    assert (it.error, it.is_ready) == ("", True)


def test_an_error_that_was_told_ends_at_once_and_a_new_one_is_told_again() -> None:
    changes: list[str] = []
    it = Readiness(0.0)
    it.on_change = lambda: changes.append(it.error)
    it.failed("a")
    it.told("a")
    it.recovered()
    it.failed("b")
    it.recovered()
    it.failed("c")  # before b was told
    it.told("b")
    assert it.error == "c"
    it.told("c")
    assert it.error == "c"  # it goes on
    assert changes == ["a", "", "b", "c"]


def test_being_ready_ends_everything() -> None:
    it = Readiness(0.0)
    it.failed("a")
    it.benchmarked(1.0, 1.0)
    assert (it.error, it.is_ready) == ("", True)
    it.told("a")
    assert it.error == ""
