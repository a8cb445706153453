"""The search language means here what it means in the vendor's CLI, which serves as the oracle."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vastai.api.query import offers_alias, offers_fields, offers_mult, parse_query

from chalicelib.wire.search_query import SearchQueryError, parse_search_query


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", {}),
        ("num_gpus=1", {"num_gpus": {"eq": "1"}}),
        ("gpu_ram>=23", {"gpu_ram": {"gte": 23000.0}}),
        ("gpu_ram >= 23  gpu_ram<80", {"gpu_ram": {"gte": 23000.0, "lt": 80000.0}}),
        ("gpu_name=RTX_4090", {"gpu_name": {"eq": "RTX 4090"}}),
        ('gpu_name="RTX 4090"', {"gpu_name": {"eq": "RTX 4090"}}),
        ("gpu_name in [RTX_3090,RTX_4090]", {"gpu_name": {"in": ["RTX 3090", "RTX 4090"]}}),
        ("geolocation not in [CN,VN]", {"geolocation": {"notin": ["CN", "VN"]}}),
        ("verified=True external=false", {"verified": {"eq": True}, "external": {"eq": False}}),
        ("duration>2", {"duration": {"gt": 172800.0}}),
        ("driver_version>=535.86.05", {"driver_version": {"gte": 535086005}}),
        ("cuda_vers>=12.1 dph<1", {"cuda_max_good": {"gte": "12.1"}, "dph_total": {"lt": "1"}}),
        ("verified=True verified=any", {}),
    ],
)
def test_text_is_parsed(text: str, query: object) -> None:
    assert parse_search_query(text) == query


def test_lists_are_joined_and_objects_taken_as_they_are() -> None:
    assert parse_search_query(["num_gpus=1", "gpu_ram>2"]) == {
        "num_gpus": {"eq": "1"},
        "gpu_ram": {"gt": 2000.0},
    }
    query = {
        "num_gpus": {"eq": 2, "gte": "1"},
        "gpu_name": {"in": ["A", "B"]},
        "dph_total": {"lte": 1e-07},
        "rented": {"eq": None},
    }
    assert parse_search_query(query) == query


@pytest.mark.parametrize(
    "value",
    [
        "gpu_ram>=", "nonsense", "num_gpus=1 and so on", "gpu_ram>=many", "gpu_ram>nan",
        "gpu_ram>=inf", "num_gpus=[]", "num_gpus>any", "driver_version=535.x", 7, [1], True,
        {"a": 1}, {"a": {}}, {"a": {"like": 1}}, "x" * 5000, "gpu_ram>=\uff12\uff14",
        "driver_version=\uff15.86.05", {"gpu_ram": {"gte": "many"}}, {"gpu_ram": {"lt": True}},
        {"gpu_name": {"eq": {"gte": 1}}}, {"gpu_name": {"in": [["A"]]}},
        {"gpu_name": {"eq": "x" * 201}},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(value: object) -> None:
    with pytest.raises(SearchQueryError, match="search_params"):
        parse_search_query(value)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("gpu_nam=3", "'gpu_nam' is no field of an offer; did you mean gpu_name?"),
        ("num_gpu=1 gpu_ram>=23", "'num_gpu' is no field of an offer; did you mean num_gpus?"),
        ({"gpuram": {"gte": 24}}, "'gpuram' is no field of an offer; did you mean gpu_ram?"),
        ("cuda_ver>=12", "'cuda_ver' is no field of an offer; did you mean cuda_vers?"),
        ("zzz=any", "'zzz' is no field of an offer; known: .*gpu_name, gpu_ram,"),
    ],
)
def test_a_misspelt_field_is_told_with_the_near_one(value: object, advice: str) -> None:
    with pytest.raises(SearchQueryError, match=advice):
        parse_search_query(value)


def test_every_field_of_the_vendors_command_is_known() -> None:
    for field in [*offers_fields, *offers_alias]:
        assert parse_search_query(f"{field}=1")


FIELDS = st.sampled_from(["gpu_ram", "num_gpus", "gpu_name", "dph", "duration", "reliability"])
SYMBOLS = st.sampled_from(["=", "==", "!=", ">", ">=", "<", "<=", " = ", " >= "])
NUMBERS = st.sampled_from(["1", "23", "0.98", "100.5"])
WORDS = st.sampled_from(["RTX_4090", "True", "false", "null", '"RTX 3090"', "None", "CN"])
PLAIN = st.builds(lambda f, o, v: f + o + v, FIELDS, SYMBOLS, NUMBERS)
TEXTUAL = st.builds(lambda o, v: "gpu_name" + o + v, SYMBOLS, WORDS)
LISTED = st.builds(
    lambda o, v: f"gpu_name {o} [{','.join(v)}]",
    st.sampled_from(["in", "nin", "notin", "not in"]),
    st.lists(st.sampled_from(["RTX_4090", "A100", "H100"]), min_size=1, max_size=3),
)


@given(st.lists(PLAIN | TEXTUAL | LISTED, min_size=1, max_size=5).map(" ".join))
def test_the_vendors_parser_agrees(text: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = parse_query(text, {}, offers_fields, offers_alias, offers_mult)
    assert parse_search_query(text) == theirs


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(SearchQueryError):
        assert all(parse_search_query(text).values())
