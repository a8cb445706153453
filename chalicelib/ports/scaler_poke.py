"""Poking the scaler: ask for a round now, without waiting for it; and how its answers travel."""

from collections.abc import Mapping
from typing import Any, Protocol

from chalicelib.ports.errors import NotFoundError, PortError
from chalicelib.ports.marketplace import (
    MarketplaceError,
    MarketplaceUnavailableError,
    RateLimitedError,
    RefusedError,
)


class ScalerPoke(Protocol):
    """Starts the scaler function."""

    def poke(self, endpoint_id: int, reason: str) -> None:
        """Ask for a round; never raises, never waits, debounced by the caller."""
        ...

    def ask(self, question: Mapping[str, object]) -> Mapping[str, object]:
        """Management's questions that need the Vast key (plan, offers, template, balance).

        The question has a key `ask`; the answer is plain JSON.

        Raises:
            MarketplaceError: Vast could not answer.
            PortError: the scaler could not be reached.
        """
        ...


def to_answer(outcome: Mapping[str, object] | PortError) -> dict[str, object]:
    """What the scaler function returns to a question: the answer, or the error by kind."""
    if not isinstance(outcome, PortError):
        return {"answer": dict(outcome)}
    error: dict[str, object] = {"kind": type(outcome).__name__, "message": str(outcome)}
    if isinstance(outcome, RefusedError):
        error["code"] = outcome.code
    if isinstance(outcome, RateLimitedError):
        error["retry_after_s"] = outcome.retry_after_s
    return {"error": error}


def from_answer(reply: object) -> Mapping[str, object]:
    """The answer in what the scaler function returned.

    Raises:
        MarketplaceError: Vast could not answer.
        PortError: the question failed otherwise.
    """
    if not isinstance(reply, dict):
        raise PortError("the scaler gave no answer")
    answer, error = reply.get("answer"), reply.get("error")
    if isinstance(answer, dict):
        return answer
    if not isinstance(error, dict):
        raise PortError("the scaler gave no answer")
    raise _error(error)


_PLAIN: Mapping[str, type[PortError]] = {
    kind.__name__: kind for kind in (NotFoundError, MarketplaceUnavailableError, MarketplaceError)
}


def _error(error: Mapping[str, Any]) -> PortError:
    kind, message = str(error.get("kind")), str(error.get("message", ""))
    if kind == "RefusedError":
        code = str(error.get("code", ""))
        return RefusedError(code, message.removeprefix(f"{code}: "))
    if kind == "RateLimitedError":
        return RateLimitedError(message, float(error.get("retry_after_s", 1.0)))
    return _PLAIN.get(kind, PortError)(message)
