"""HTTP to Vast: one request, one answer, time-outs, no retry of anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chalicelib.deadline import Deadline

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0  # without a byte
TOTAL_TIMEOUT_S = 25.0  # from the request to the end of its answer, however slowly it drips
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
    headers: Mapping[str, str] = field(default_factory=dict)


class NoAnswerError(Exception):
    """No answer came: refused, reset, timed out or too big. The request may have had its effect."""


Send = Callable[[VastRequest], VastAnswer]
"""A transport. Raises NoAnswerError."""


def send_over_http(request: VastRequest, *, total_timeout_s: float = TOTAL_TIMEOUT_S) -> VastAnswer:
    """Send once, over a connection of its own, following no redirect (it could carry the key away).

    The key goes out by an explicit `auth`: a plain header would give way to ~/.netrc.

    Raises:
        NoAnswerError: no whole answer in time.
    """
    import requests

    deadline = Deadline(total_timeout_s)
    try:
        with (
            deadline,
            _watched_session(deadline) as session,
            session.request(
                request.method,
                request.url,
                params=dict(request.params),
                json=request.body,
                headers={"User-Agent": USER_AGENT},
                auth=_bearer(request.api_key),
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            text = _read_text(response)
            if not deadline.is_past:
                return VastAnswer(response.status_code, text, dict(response.headers))
    except (requests.RequestException, NoAnswerError, OSError) as error:
        if not deadline.is_past:
            # The error's own text holds the URL and, for some errors, headers: name its kind only.
            said = str(error) if isinstance(error, NoAnswerError) else type(error).__name__
            raise NoAnswerError(f"{request.method}: {said}") from None
    raise NoAnswerError(f"{request.method}: no whole answer within {total_timeout_s:g} s")


def _watched_session(deadline: Deadline) -> requests.Session:
    """A session of `requests` whose connections all end at the deadline."""
    import requests
    from requests.adapters import HTTPAdapter

    class Watched(HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **named: Any) -> Any:
            pool: Any = super().get_connection_with_tls_context(*args, **named)
            deadline.watch(pool)
            return pool

    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, Watched())
    return session


def _bearer(api_key: str) -> Callable[[Any], Any]:
    """An `auth` of requests: this key, or none; never one from the environment."""

    def sign(prepared: Any) -> Any:
        if api_key:
            prepared.headers["Authorization"] = f"Bearer {api_key}"
        return prepared

    return sign


def _read_text(response: requests.Response) -> str:
    from urllib3.exceptions import HTTPError

    content = bytearray()
    try:
        while part := response.raw.read1(64 * 1024, decode_content=True):
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise NoAnswerError(f"answer of more than {MAX_ANSWER_BYTES} bytes")
    except (HTTPError, OSError) as error:
        raise NoAnswerError(type(error).__name__) from None
    return content.decode("utf-8", errors="replace")
