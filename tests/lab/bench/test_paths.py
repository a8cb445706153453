"""The two paths that a newcomer follows: they run, and the map names their files in order."""

from __future__ import annotations

from lab.bench.paths import ARCHITECTURE, trail_of_a_grant, trail_of_a_rental, with_lists


def test_a_grant_is_followed_from_the_event_to_the_ticket() -> None:
    files = trail_of_a_grant().files
    assert files[0] == "chalicelib/api/entry.py"
    assert files.index("chalicelib/services/keys.py") < files.index(
        "chalicelib/core/routing/choice.py"
    )
    assert not [file for file in files if "/scaling/" in file or "/rounds/" in file]


def test_a_rental_is_followed_from_the_schedule_to_the_create() -> None:
    files = trail_of_a_rental().files
    assert files[0] == "chalicelib/services/rounds/loop.py"
    assert files.index("chalicelib/core/scaling/decision.py") < files.index(
        "chalicelib/services/rounds/rentals.py"
    )
    routing = [file for file in files if file.startswith("chalicelib/core/routing/")]
    assert routing in ([], ["chalicelib/core/routing/directory.py"])  # kept readable each round


def test_the_map_follows_both() -> None:
    """`python -m lab.bench paths --write` brings the lists up to date."""
    text = ARCHITECTURE.read_text()
    assert with_lists(text) == text
