"""What real llama.cpp answered (tests/models/record_llamacpp.py), read as a worker reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.openai.answers import READING, is_busy, is_clients_fault
from workers.openai.server import CHAT
from workers.pyworker.model.engine_metrics import LearnedSlots, read_engine_metrics
from workers.pyworker.model.forwarding import outcome_of_error
from workers.pyworker.reporting.load_ledger import Outcome

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models"
LLAMA: dict[str, Any] = json.loads((EVIDENCE / "llama.cpp-2026.10.11549.json").read_text())


@pytest.mark.parametrize(("name", "work"), [("chat", 8), ("completion", 8), ("chat_stream", 4)])
def test_what_it_made_is_read_from_its_answer(name: str, work: float) -> None:
    exchange = LLAMA["exchanges"][name]
    headers = {key.title(): value for key, value in exchange["headers"].items()}
    reader = READING.reader(headers)
    reader.feed(exchange["answer"].encode())
    assert (reader.done().work, reader.done().error) == (work, "")


@pytest.mark.parametrize(
    ("name", "status"),
    [("chat_image", 500), ("chat_too_long", 400), ("embeddings", 501), ("rerank", 501),
     ("no_such_path", 404)],
)  # fmt: skip
def test_what_it_cannot_do_is_no_error_of_the_worker(name: str, status: int) -> None:
    exchange = LLAMA["exchanges"][name]
    body = exchange["answer"].encode()
    assert exchange["status"] == status
    assert outcome_of_error(status, body, CHAT) is Outcome.REFUSED
    assert not is_busy(body)
    assert status != 500 or is_clients_fault(body)


def test_what_it_takes_is_not_to_be_refused_before_it() -> None:
    for name in ("chat_made_up_model", "chat_minus_one", "chat_no_messages"):
        assert LLAMA["exchanges"][name]["status"] == 200


def test_its_counters_tell_places_and_who_waits() -> None:
    rest = read_engine_metrics(LLAMA["exchanges"]["metrics_rest"]["answer"])
    busy = read_engine_metrics(LLAMA["exchanges"]["metrics_busy"]["answer"])
    assert (rest.running, rest.waiting, busy.running, busy.waiting) == (0, 0, 2, 3)
    slots = LearnedSlots(stated=1)
    slots.take(rest)
    slots.take(busy)
    assert slots.slots == 2 == len(json.loads(LLAMA["exchanges"]["slots"]["answer"]))
