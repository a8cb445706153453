"""Every reason has its sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.money.budget import Cap
from chalicelib.core.scaling.reasons import Reason, ReasonCode, explain, explain_reason

_NOT_PARKED = (GroupState.ACTIVE, GroupState.DELETING)


def test_every_reason_has_a_sentence_of_its_own() -> None:
    sentences = [code.sentence for code in ReasonCode]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) >= len(sentences) - 1  # max_workers by two names


def test_every_cap_is_a_reason() -> None:
    assert {str(cap) for cap in Cap} <= set(ReasonCode)


def test_numbers_are_written_for_people() -> None:
    reason = Reason(
        code=ReasonCode.HOT_SHORT, facts={"had": 0.123456, "wanted": 12345.678, "term": "min_load"}
    )
    assert (
        explain_reason(reason)
        == "Its autogroup's ready workers can serve 0.123 load/s, and 12346 is needed of them "
        "(your min_load)."
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


@pytest.mark.parametrize("state", [s for s in GroupState if s not in _NOT_PARKED])
def test_each_state_in_which_a_group_is_parked_is_a_reason(state: GroupState) -> None:
    assert ReasonCode.of(f"group_{state}").sentence
