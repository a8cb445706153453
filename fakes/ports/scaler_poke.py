"""A scaler that remembers pokes and answers questions from a table."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.ports.errors import PortError


class FakeScalerPoke:
    """ScalerPoke with memory; `answers` maps a question's `ask` to its answer or its error."""

    def __init__(self) -> None:
        self.pokes: list[tuple[int, str]] = []
        self.questions: list[Mapping[str, object]] = []
        self.answers: dict[str, Mapping[str, object] | Exception] = {}

    def poke(self, endpoint_id: int, reason: str) -> None:
        """Remember."""
        self.pokes.append((endpoint_id, reason))

    def ask(self, question: Mapping[str, object]) -> Mapping[str, object]:
        """The prepared answer; PortError if there is none."""
        self.questions.append(question)
        answer = self.answers.get(str(question.get("ask")), PortError("nobody answers"))
        if isinstance(answer, Exception):
            raise answer
        return answer
