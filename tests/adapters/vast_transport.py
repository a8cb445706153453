"""A transport that answers anything, and the adapter on it."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import strategies as st

from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.http import NoAnswerError, VastAnswer, VastRequest
from chalicelib.ports.marketplace import CreateRequest
from fakes.ports.clock import ManualClock

KEY = "vast-key-canary"
CREATE = CreateRequest(
    offer_id=55, label="chat - 0123", template_hash="abc", disk_gb=40.0, env={"-p 3000:3000": "1"}
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


class Transport:
    """Answers from a list, the last one for ever; remembers the requests."""

    def __init__(self, *answers: VastAnswer | NoAnswerError) -> None:
        self._answers = list(answers)
        self.requests: list[VastRequest] = []

    def __call__(self, request: VastRequest) -> VastAnswer:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer


def adapter(transport: Callable[[VastRequest], VastAnswer]) -> VastMarketplace:
    """The adapter on a transport."""
    return VastMarketplace(
        url="https://console.vast.ai", api_key=lambda: KEY, clock=ManualClock(), send=transport
    )


def ok(body: object) -> VastAnswer:
    """A success with this body."""
    return VastAnswer(200, json.dumps(body))
