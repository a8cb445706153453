"""What a request may use, by what model servers read in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from chalicelib.wire.token_cost import MAX_TOKENS, chat_cost, completion_cost, cost_of
from workers.openai.server import BACK_END as OPENAI
from workers.pyworker.back_end import BackEnd
from workers.tgi.server import BACK_END as TGI

READ = TypeAdapter(int)
"""As vLLM reads its requests: its models are pydantic's."""

WRITTEN = st.from_regex(r"[ +]?0{0,2}[0-9]{1,3}(_[0-9]{3})?(\.0{0,2})? ?", fullmatch=True)


@given(WRITTEN)
def test_a_number_written_as_text_counts_as_what_a_server_reads_in_it(text: str) -> None:
    """`max_tokens: "4096"` counted as 256, and a limited key was served 16 times what it paid."""
    try:
        read = READ.validate_python(text)
    except ValidationError:
        return
    assert chat_cost({"max_tokens": text}) == max(read, 1)
    assert completion_cost({"n": text, "max_tokens": 2}) == 2 * max(read, 1)


@pytest.mark.parametrize("text", ["", "x", "nan", "-1", "0x10", "9" * 5_000, "\ud800"])
def test_what_is_no_number_counts_as_nothing_said(text: str) -> None:
    assert chat_cost({"max_tokens": text}) == chat_cost({})


def test_the_most_that_any_name_allows_counts() -> None:
    """Servers differ in which of several they take."""
    for first, second in ((5, 5_000), (5_000, 5)):
        payload = {"max_tokens": first, "max_completion_tokens": second}
        assert chat_cost(payload) == 5_000
    assert chat_cost({"max_completion_tokens": "inf"}) == MAX_TOKENS


def test_tools_are_read_like_the_prompt() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 200_000}}
    in_tools = chat_cost({"messages": [], "tools": [tool], "max_tokens": 1})
    in_prompt = chat_cost({"messages": [{"content": "x" * 200_000}], "max_tokens": 1})
    assert in_tools == pytest.approx(in_prompt, rel=1e-3)


@pytest.mark.parametrize("back_end", [OPENAI, TGI], ids=["openai", "tgi"])
def test_callers_count_as_workers_do(back_end: BackEnd) -> None:
    """The proxy priced TGI's own routes at 256, whatever they asked for."""
    payload = {
        "inputs": "x" * 9_000, "parameters": {"max_new_tokens": 700, "best_of": 2},
        "messages": [{"role": "user", "content": "x" * 9_000}], "prompt": "x" * 9_000, "n": 2,
        "max_tokens": 700, "input": ["x" * 9_000], "query": "q", "documents": ["d"] * 40,
    }  # fmt: skip
    priced = [route for route in back_end.routes if not route.is_form and "audio" not in route.path]
    assert len(priced) >= 2
    for route in priced:
        assert cost_of(route.path, payload) == route.workload(payload), route.path


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "UklG" * 500_000, "format": "wav"}},
        {"type": "file", "file": {"file_data": "JVBE" * 500_000, "filename": "a.pdf"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBO" * 500_000}},
    ],
)
def test_a_file_in_a_chat_is_no_prompt_of_its_characters(part: dict[str, object]) -> None:
    """OpenAI's API takes audio in bare base64: 2 MB of it counted as 25,000 tokens to be made."""
    chat = {"max_tokens": 10, "messages": [{"role": "user", "content": [part]}]}
    assert chat_cost(chat) == 10.0
