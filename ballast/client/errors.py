"""What can go wrong for a caller.

CallError
├── RouteRefusedError        the control plane refused: bad key, unknown endpoint group, bad cost
├── WorkerRefusedError       a worker answered with a status that no other worker would better
├── ControlPlaneSilentError  the control plane cannot be reached or gives no usable answer
├── WaitTimeoutError         no worker became free in time; `status` says what the group was doing
├── StreamBrokenError        the answer broke off after it had begun
├── CannotResumeError        `resume` for a call that could not be continued
└── StoppedError             the caller's own stop signal
"""

from __future__ import annotations

from collections.abc import Mapping

NO_KEY = "the key has characters that no key has: was it copied whole?"


class CallError(Exception):
    """A call did not get its answer."""


class RouteRefusedError(CallError):
    """`/route/` answered with an error."""

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(f"/route/ answered {http_status}: {message}")
        self.http_status = http_status


class WorkerRefusedError(CallError):
    """The worker answered with an error that a retry would not change."""

    def __init__(
        self, http_status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"worker answered {http_status}: {body[:500].decode(errors='replace')}")
        self.http_status = http_status
        self.body = body
        self.headers: Mapping[str, str] = {} if headers is None else headers


class WaitTimeoutError(CallError):
    """No answer within the caller's time."""

    def __init__(self, timeout_s: float, status: str) -> None:
        super().__init__(f"no worker within {timeout_s:g} s; the endpoint group says: {status}")
        self.status = status


class ControlPlaneSilentError(CallError):
    """The control plane cannot be reached, or gives no usable answer."""

    def __init__(self, silent_s: float, problem: str) -> None:
        super().__init__(
            f"no usable answer for {silent_s:.0f} s: {problem}; "
            "is the address right (-u, BALLAST_URL)?"
        )


class StreamBrokenError(CallError):
    """The connection to the worker broke in the middle of the answer."""


class ModelFailedError(CallError):
    """The answer had a status of 200, and says that the model server failed."""

    def __init__(self, words: str) -> None:
        super().__init__(f"the model server failed: {words}")
        self.words = words


class CannotResumeError(CallError):
    """`resume` was asked for a call whose answer could not be continued elsewhere."""


class StoppedError(CallError):
    """The caller asked to stop."""
