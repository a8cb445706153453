"""Trace headers: the trace stays, each step has its own id, and what is no header begins anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.wire.trace import TraceContext, next_step, parse_traceparent

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
OWN = "0123456789abcdef0123456789abcdef"
BAD = [
    "",
    "00-" + "0" * 32 + "-00f067aa0ba902b7-01",  # no trace
    "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",  # no step
    GOOD.replace("00-4b", "ff-4b"),  # a version that will never be
    GOOD.upper(),
    GOOD + "-more",  # of version 00 that is wrong
    GOOD[:-1],
    "x" * 10_000,
]


def test_the_trace_and_its_flags_are_kept_and_the_step_is_ones_own() -> None:
    assert next_step(GOOD, OWN).header == f"00-4bf92f3577b34da6a3ce929d0e0e4736-{OWN[16:]}-00"
    assert parse_traceparent("cc" + GOOD[2:] + "-what.later.versions.add") == parse_traceparent(
        GOOD
    )


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_header_begins_a_trace(text: str) -> None:
    assert next_step(text, OWN) == TraceContext(OWN, OWN[16:])


@given(st.text(max_size=100))
def test_no_text_breaks_it_and_its_own_headers_are_read_back(text: str) -> None:
    step = next_step(text, OWN)
    assert parse_traceparent(step.header) == step
