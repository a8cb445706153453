"""AWS out of order, told by botocore itself: what its clients get instead of an answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from tests.infra.recorded_life import Recorder

Fault = Callable[[AWSPreparedRequest], AWSResponse]


class _Raw(io.BytesIO):
    """A body as urllib3 gives it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def answers(status: int, code: str) -> Fault:
    """AWS answers with an error."""

    def fault(request: AWSPreparedRequest) -> AWSResponse:
        body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "out of order"}).encode()
        headers = HTTPHeaders()
        headers["content-type"] = "application/x-amz-json-1.0"
        return AWSResponse(request.url, status, headers, _Raw(body))

    return fault


def refuses(request: AWSPreparedRequest) -> AWSResponse:
    """Nobody listens."""
    raise EndpointConnectionError(endpoint_url=request.url)


def hangs(request: AWSPreparedRequest) -> AWSResponse:
    """No answer comes in time."""
    raise ReadTimeoutError(endpoint_url=request.url)


def is_unreachable(request: AWSPreparedRequest) -> AWSResponse:
    """No connection comes about in time."""
    raise ConnectTimeoutError(endpoint_url=request.url)


DYNAMODB_FAULTS: Mapping[str, Fault] = {
    "throttled table": answers(400, "ProvisionedThroughputExceededException"),
    "throttled account": answers(400, "ThrottlingException"),
    "request limit": answers(400, "RequestLimitExceeded"),
    "internal error": answers(500, "InternalServerError"),
    "denied": answers(400, "AccessDeniedException"),
    "table gone": answers(400, "ResourceNotFoundException"),
    "refused": refuses,
    "slow": hangs,
}
KMS_FAULTS: Mapping[str, Fault] = {
    "disabled": answers(400, "DisabledException"),
    "pending deletion": answers(400, "KMSInvalidStateException"),
    "internal error": answers(500, "KMSInternalException"),
    "throttled": answers(400, "ThrottlingException"),
    "denied": answers(400, "AccessDeniedException"),
    "refused": refuses,
    "slow": hangs,
    "unreachable": is_unreachable,
}


class Outages(Recorder):
    """Breaks chosen calls of every client that is made after it is attached."""

    def __init__(self) -> None:
        super().__init__()
        self.n_broken = 0
        self._event = ""
        self._fault: Fault | None = None

    def attach(self, session: Any) -> None:
        """Stand before everybody else who may answer for AWS."""
        super().attach(session)
        session.get_component("event_emitter").register_first("before-send", self._answer)

    @contextmanager
    def broken(self, event: str, fault: Fault) -> Iterator[None]:
        """Break the calls whose event (`dynamodb` or `dynamodb.PutItem`) begins like this."""
        self._event, self._fault, self.n_broken = f"before-send.{event}", fault, 0
        yield
        self._fault = None

    def _answer(
        self, request: AWSPreparedRequest, event_name: str, **_: object
    ) -> AWSResponse | None:
        if self._fault is None or not event_name.startswith(self._event):
            return None
        self.n_broken += 1
        return self._fault(request)
