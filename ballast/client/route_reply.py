"""What `/route/` is asked, and what it answers: a grant or "wait". Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from ballast.client.affinity import NO_AFFINITY, Affinity
from ballast.client.errors import RouteRefusedError
from chalicelib.wire.ticket import TICKET_HEADER

MAX_TICKET_HEADER = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A worker to call. `auth_data` is the whole reply, passed on as it came."""

    url: str
    request_idx: int
    auth_data: Mapping[str, object]
    certificate_sha256: str = ""  # hex; when given, the worker must show this very certificate
    why: str = ""  # it was chosen: "warm" if its cache should hold the prompt's beginning

    @property
    def ticket_header(self) -> dict[str, str]:
        """The ticket for the worker's eyes before the body; none where it fits into no header."""
        signature = self.auth_data.get("signature")
        is_plain = isinstance(signature, str) and signature.isascii() and signature.isprintable()
        if not is_plain or len(str(signature)) > MAX_TICKET_HEADER:
            return {}
        return {TICKET_HEADER: str(signature)}

    def __repr__(self) -> str:
        return f"Grant(url={self.url!r}, request_idx={self.request_idx})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """No worker yet. `poll_after_s`: when the control plane wants to be asked again."""

    request_idx: int
    status: str
    poll_after_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """What a request minds.

    `interruptible` False wants no worker that the market may take away; `is_stream`: its answer
    comes bit by bit, so that a lost worker would break it; `affinity`: where its prompt may lie in
    a cache; `route`: the path at the worker, for what is usually used there.
    """

    interruptible: bool = True
    is_stream: bool = False
    affinity: Affinity = NO_AFFINITY
    route: str = ""


_FINGERPRINT = re.compile("(?:[0-9A-Fa-f]{64})?")


def route_body(
    endpoint: str, cost: float, request_idx: int, manner: Manner | None = None
) -> dict[str, object]:
    """The question. `paced`: we ask again when `poll_after_s` says so, so we may be bound late."""
    body: dict[str, object] = {
        "endpoint": endpoint,
        "cost": cost,
        "request_idx": request_idx,
        "paced": True,
    }
    if manner is not None and not manner.interruptible:
        body["interruptible"] = False
    if manner is not None and manner.is_stream:
        body["stream"] = True
    if manner is not None and manner.route:
        body["route"] = manner.route.partition("?")[0]
    if manner is not None:
        body.update(manner.affinity.fields())
    return body


def parse_route_reply(http_status: int, text: str) -> Grant | Waiting:
    """The meaning of a reply.

    Raises:
        RouteRefusedError: another status than 200, or a body that is neither a grant nor "wait".
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if http_status != HTTPStatus.OK:
        raise RouteRefusedError(http_status, _words(body) or text[:200])
    if not isinstance(body, dict):
        raise RouteRefusedError(http_status, "unusable reply: not a JSON object")
    idx = body.get("request_idx")
    request_idx = idx if isinstance(idx, int) and not isinstance(idx, bool) else 0
    if "url" not in body:
        return Waiting(
            request_idx=request_idx,
            status=str(body.get("status", "")),
            poll_after_s=_seconds(body.get("poll_after_s")),
            eta_s=_seconds(body.get("eta_s")),
        )
    url = body["url"]
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise RouteRefusedError(http_status, f"url {url!r} is not an http(s) address")
    fingerprint = body.get("certificate_sha256") or ""
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
        raise RouteRefusedError(
            http_status, f"certificate_sha256 {fingerprint!r:.80} is no SHA-256"
        )
    return Grant(
        url=url.rstrip("/"),
        request_idx=request_idx,
        auth_data=body,
        certificate_sha256=fingerprint,
        why=str(body.get("why") or ""),
    )


def _words(body: object) -> str:
    if not isinstance(body, dict):
        return ""
    return str(body.get("error_msg") or body.get("msg") or body.get("error") or body)[:500]


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        return None
    return float(value)
