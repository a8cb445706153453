"""HTTP to Vast: one request, one answer, time-outs, no retry of anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
USER_AGENT = "ballast"


@dataclass(frozen=True, kw_only=True, slots=True)
class VastRequest:
    """A call of Vast's API. `body` is sent as JSON; neither it nor `api_key` shows in the repr."""

    method: str
    url: str
    api_key: str = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)

    def secrets(self) -> Iterator[str]:
        """What no text about this call may repeat: the key, and a new machine's own token."""
        if self.api_key:
            yield self.api_key
        env = (self.body or {}).get("env")
        if isinstance(env, Mapping) and env.get("MASTER_TOKEN"):
            yield str(env["MASTER_TOKEN"])


@dataclass(frozen=True, slots=True)
class VastAnswer:
    """What came back, whatever it is."""

    status: int
    text: str


class NoAnswerError(Exception):
    """No answer came: refused, reset, timed out or too big. The request may have had its effect."""


Send = Callable[[VastRequest], VastAnswer]
"""A transport. Raises NoAnswerError."""


def send_over_http(request: VastRequest) -> VastAnswer:
    """Send once, over a connection of its own, following no redirect (it could carry the key away).

    Raises:
        NoAnswerError: no whole answer in time.
    """
    import requests

    headers = {"Authorization": f"Bearer {request.api_key}", "User-Agent": USER_AGENT}
    try:
        response = requests.request(
            request.method,
            request.url,
            params=dict(request.params),
            json=request.body,
            headers=headers if request.api_key else {"User-Agent": USER_AGENT},
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            allow_redirects=False,
        )
    except requests.RequestException as error:
        # The error's own text holds the URL and, for some errors, headers: name its kind only.
        raise NoAnswerError(f"{request.method}: {type(error).__name__}") from None
    if len(response.content) > MAX_ANSWER_BYTES:
        raise NoAnswerError(f"{request.method}: answer of {len(response.content)} bytes")
    return VastAnswer(response.status_code, response.text)
