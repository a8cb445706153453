"""HTTP for callers, on `requests`: the control plane with the key, workers without it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from ballast.bearer import bearer
from ballast.bounded import BoundedAdapter
from ballast.client.route_reply import Grant, Manner, Waiting, parse_route_reply, route_body
from chalicelib.wire.trace import HEADER

ROUTE_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 10.0


class WorkerUnreachableError(Exception):
    """A worker refused, broke or distrusted the connection before it answered."""


class _PinnedAdapter(BoundedAdapter):
    """Accepts one certificate, whoever signed it; checked before any byte is sent."""

    def __init__(self, certificate_sha256: str, *, streams: bool) -> None:
        self._fingerprint = certificate_sha256
        super().__init__(streams=streams)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """The pool that compares fingerprints."""
        super().init_poolmanager(
            *args, assert_fingerprint=self._fingerprint, assert_hostname=False, **kwargs
        )


def check_authority(path: str | None) -> None:
    """Check certificates to trust: a PEM file, or OpenSSL's folder of them.

    Raises:
        ValueError: it is neither. Found out at the first worker that speaks TLS, it would be late.
    """
    if path is None or Path(path).is_dir():
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError, too
        why = error.strerror if isinstance(error, FileNotFoundError) else "no PEM certificates"
        raise ValueError(f"worker_ca: {path}: {why}") from error


class Transport:
    """One caller's connections; safe to share between threads."""

    def __init__(self, url: str, api_key: str, worker_ca: str | None = None) -> None:
        check_authority(worker_ca)
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._worker_ca = worker_ca
        self._sessions: dict[tuple[str, str], requests.Session] = {}
        self._lock = threading.Lock()

    def route(
        self,
        endpoint: str,
        cost: float,
        request_idx: int,
        traceparent: str = "",
        manner: Manner | None = None,
        timeout_s: float = ROUTE_TIMEOUT_S,
    ) -> Grant | Waiting:
        """Ask once, for ROUTE_TIMEOUT_S at most, or as long as the caller has time.

        Raises:
            RouteRefusedError: an error status, or a reply that makes no sense.
            requests.RequestException: no answer.
        """
        answer = self._session("control").post(
            f"{self.url}/route/",
            json=route_body(endpoint, cost, request_idx, manner),
            headers=_trace(traceparent),
            auth=bearer(self._api_key),
            allow_redirects=False,
            timeout=min(ROUTE_TIMEOUT_S, timeout_s),
        )
        return parse_route_reply(answer.status_code, answer.text)

    def call_worker(
        self,
        grant: Grant,
        route: str,
        payload: Mapping[str, object],
        timeout_s: float,
        traceparent: str = "",
        *,
        streams: bool = False,
    ) -> requests.Response:
        """POST the ticket and the payload; the answer's headers are here, its body is not.

        The answer is whole after `timeout_s`, or its reading fails; where it `streams`, an error
        is, and of anything else the next bytes.

        Raises:
            WorkerUnreachableError: no answer.
        """
        session = self._session("stream" if streams else "worker", grant.certificate_sha256)
        try:
            return session.post(
                grant.url + route,
                data=json.dumps({"auth_data": grant.auth_data, "payload": payload}),
                headers={
                    "Content-Type": "application/json",
                    **grant.ticket_header,
                    **_trace(traceparent),
                },
                timeout=(CONNECT_TIMEOUT_S, timeout_s),
                stream=True,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise WorkerUnreachableError(type(error).__name__) from error

    def close(self) -> None:
        """Close all connections; answers being read are cut."""
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()

    def _session(self, kind: str, certificate_sha256: str = "") -> requests.Session:
        """The connections for this purpose; workers never see the control plane's."""
        with self._lock:
            session = self._sessions.get((kind, certificate_sha256))
            if session is None:
                session = self._open(kind, certificate_sha256)
                self._sessions[kind, certificate_sha256] = session
        return session

    def _open(self, kind: str, certificate_sha256: str) -> requests.Session:
        session = requests.Session()
        streams = kind == "stream"
        if kind != "control":
            session.trust_env = False  # no credentials from ~/.netrc for strangers
            session.verify = self._worker_ca or True
        if certificate_sha256:
            session.verify = False  # the pinned certificate is all that counts
            session.mount("https://", _PinnedAdapter(certificate_sha256, streams=streams))
        else:
            session.mount("https://", BoundedAdapter(streams=streams))
        session.mount("http://", BoundedAdapter(streams=streams))
        return session


def _trace(traceparent: str) -> dict[str, str]:
    return {HEADER: traceparent} if traceparent else {}
