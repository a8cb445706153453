"""Logs cut to the line, and Prometheus' text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from chalicelib.wire.observability import (
    LEVELS,
    MAX_LOG_BYTES,
    log_line,
    log_texts,
    prometheus_text,
)

LINES = [(0.0, "info0", "a"), (1.0, "info1", "b"), (2.0, "trace", "c"), (3.0, "debug", "d")]


def test_each_level_holds_the_ones_before_it() -> None:
    texts = log_texts(LINES, -1)
    assert tuple(texts) == LEVELS
    assert [text.count("\n") for text in texts.values()] == [1, 2, 3, 4]
    assert texts["info0"] == "1970-01-01T00:00:00.000Z [info0] a\n"


@given(
    st.lists(st.tuples(st.floats(0, 4e9), st.sampled_from(LEVELS), st.text(max_size=30))),
    st.integers(0, 500),
)
def test_a_tail_has_exactly_so_many_lines_of_the_end(
    lines: list[tuple[float, str, str]], tail: int
) -> None:
    whole, cut = log_texts(lines, -1), log_texts(lines, tail)
    for level in LEVELS:
        rows = whole[level].splitlines(keepends=True)
        assert cut[level] == "".join(rows[-tail:] if tail else ())


def test_a_level_that_is_too_long_loses_its_oldest_lines_whole_and_says_how_many() -> None:
    rows = [(0.0, "info0", f"{n} {'x' * 5000}") for n in range(300)]
    notice, *lines = (text := log_texts(rows, -1)["info0"]).splitlines()
    assert MAX_LOG_BYTES - 6000 < len(text) <= MAX_LOG_BYTES
    n_left_out = 300 - len(lines)
    assert notice == f"1970-01-01T00:00:00.000Z [info0] {n_left_out} older lines are left out"
    assert [line.split()[2] for line in lines] == [str(n) for n in range(n_left_out, 300)]
    assert log_texts(rows, 100)["info0"].splitlines() == lines[-100:]


def test_lines_that_were_not_read_are_told_to_whoever_asks_for_them() -> None:
    for tail, is_told in ((-1, True), (5, True), (4, False), (0, False)):
        texts = log_texts(LINES, tail, has_older=True)
        assert texts["debug"].startswith("1970-01-01T00:00:00.000Z [debug] older") is is_told
    one = [(0.0, "info0", "x" * MAX_LOG_BYTES)]
    assert log_texts(one, -1)["info0"].endswith("] 1 older lines are left out\n")


@given(st.text())
def test_a_message_never_makes_a_second_line(message: str) -> None:
    line = log_line(0.0, "info0", message)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1


@given(
    # A scraper reads lines; names with other line ends than \n cannot be given to a group.
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_prometheus_reads_back_every_name_and_value(name: str, value: float) -> None:
    labels = {"endpoint": f'{name}\n"\\', "id": "1"}
    samples = [("a", labels, value), ("b", {}, 1.0), ("a", {"id": "2"}, 0.0)]
    first, second = text_string_to_metric_families(prometheus_text(samples))
    assert [(s.labels, s.value) for s in first.samples] == [(labels, value), ({"id": "2"}, 0.0)]
    assert (second.name, second.type, second.samples[0].labels) == ("b", "gauge", {})


def test_what_is_not_finite_is_left_out() -> None:
    assert "nan" not in prometheus_text([("a", {}, float("nan"))])
