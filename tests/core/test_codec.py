"""The one codec: what is stored is read back as it was, and refused by name if its shape is not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from chalicelib.core.codec import CodecError, from_plain, names_of, salvage, to_json


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    at: float
    n: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    name: str = ""
    colour: Colour = Colour.RED
    points: tuple[Point, ...] = ()
    pair: tuple[str, float] = ("", 0.0)
    verbs: frozenset[str] = frozenset()
    by_id: Mapping[int, float] = field(default_factory=dict)
    lists: Sequence[Sequence[float]] = ()
    ends_at: float | None = None
    is_shown: bool = False
    anything: Mapping[str, object] = field(default_factory=dict)
    unknown: Mapping[str, object] = field(default_factory=dict)


PICTURE = Picture(
    name="a", colour=Colour.BLUE, points=(Point(at=1.0, n=2), Point(at=2.5)), pair=("x", 3.0),
    verbs=frozenset({"read", "admin"}), by_id={7: 1.5}, lists=((1.0, 2.0), (3.0,)), ends_at=9.0,
    is_shown=True, anything={"deep": [1, {"x": None}]}, unknown={"newer": 3},
)  # fmt: skip


def test_a_value_comes_back_as_it_was() -> None:
    text = to_json(PICTURE)
    assert from_plain(Picture, json.loads(text)) == PICTURE
    assert to_json(from_plain(Picture, json.loads(text))) == text
    assert json.loads(text)["newer"] == 3  # another version's field stands beside the others


def test_what_is_missing_takes_its_default_and_a_required_field_is_named() -> None:
    assert from_plain(Picture, {}) == Picture()
    with pytest.raises(CodecError, match="Point: at is missing"):
        from_plain(Point, {"n": 1})


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ({"name": 3}, "name: 3 is no text"),
        ({"colour": "green"}, "colour: 'green'"),
        ({"points": [{"at": 1.0, "n": 1.5}]}, "points: n: 1.5 is no whole number"),
        ({"points": {"at": 1.0}}, "points: {'at': 1.0} is no list"),
        ({"points": [3]}, "points: Point: 3 has no fields"),
        ({"pair": ["x"]}, "pair: ['x'] does not have 2 items"),
        ({"by_id": {"x": 1.0}}, "by_id: 'x' is no whole number"),
        ({"by_id": [1]}, "by_id: [1] is no mapping"),
        ({"ends_at": "soon"}, "ends_at: 'soon' is none of its types"),
        ({"ends_at": True}, "ends_at: True is none of its types"),
        ({"ends_at": float("nan")}, "ends_at: nan is none of its types"),
        ({"is_shown": 1}, "is_shown: 1 is no flag"),
        ([], "Picture: [] has no fields"),
    ],
)
def test_another_shape_is_refused_by_name(raw: object, names: str) -> None:
    with pytest.raises(CodecError) as refused:
        from_plain(Picture, raw)
    assert names in str(refused.value)


def test_whole_numbers_serve_as_floats_and_floats_without_a_rest_as_whole_ones() -> None:
    found = from_plain(Point, {"at": 3, "n": 4.0})
    assert (found.at, found.n) == (3.0, 4)
    assert (type(found.at), type(found.n)) == (float, int)


def test_salvage_keeps_what_can_be_read_field_by_field() -> None:
    raw = {"name": "kept", "points": "?", "pair": None, "ends_at": 5, "newer": [1]}
    found = salvage(Picture, raw)
    assert found == Picture(name="kept", ends_at=5.0, unknown={"newer": [1]})
    assert salvage(Picture, "nonsense") == Picture()


def test_names_are_those_of_this_version() -> None:
    assert names_of(Point) == {"at", "n"}
    assert "unknown" not in names_of(Picture)


def test_a_type_that_nobody_can_read_is_a_mistake_of_ours() -> None:
    @dataclass
    class Odd:
        what: complex = 0j

    with pytest.raises(TypeError, match="no reader for"):
        from_plain(Odd, {})
