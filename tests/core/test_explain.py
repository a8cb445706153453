"""Every reason has its sentence."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.scaling.actions import Reason
from chalicelib.core.scaling.explain import SENTENCES, explain, explain_reason

CORE = Path(__file__).parent.parent.parent / "chalicelib" / "core"


def test_every_code_in_the_decisions_has_a_sentence() -> None:
    """A code that somebody adds without a sentence is found here."""
    codes = {
        code
        for path in CORE.glob("*.py")
        for code in re.findall(r'\bcode="([a-z_]+)"', path.read_text())
    }
    assert codes - set(SENTENCES) == set()


def test_numbers_are_written_for_people() -> None:
    reason = Reason(
        code="hot_short", facts={"had": 0.123456, "wanted": 12345.678, "term": "min_load"}
    )
    assert (
        explain_reason(reason)
        == "Ready workers can serve 0.123 load/s, and 12346 is needed (your min_load)."
    )


def test_a_missing_fact_shows_as_a_question_mark() -> None:
    assert explain("unreachable", {}) == "It has been silent for ? s."


def test_an_unknown_code_is_told_with_its_facts() -> None:
    assert explain("odd_thing", {"n": 2, "a": "x"}) == "Odd thing: a x, n 2."


@given(
    st.text(max_size=20), st.dictionaries(st.text(max_size=9), st.floats() | st.text(max_size=9))
)
def test_no_code_and_no_facts_make_it_fail(code: str, facts: dict[str, object]) -> None:
    assert explain(code, facts)
