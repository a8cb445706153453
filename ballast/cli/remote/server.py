"""Ballast's HTTP API as the commands use it: JSON in, JSON out, failures as `CliError`."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from ballast.bearer import bearer
from ballast.bounded import bounded_session
from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.configuration import LOGIN_FIX

Json = dict[str, Any]
"""A JSON object of the API."""

TIMEOUT_S: Final = 30.0
CONFLICT: Final = "conflict"  # the API's word: it was changed since it was read
NO_SUCH_PATH: Final = "no such path"  # the API's words
WHAT_THERE_IS: Final = (
    "`ballast show endpoints|autogroups|keys` and `ballast workers NAME` list all"
)


class Server:
    """One deployment, seen with one key. Redirects are not followed: they would carry the key."""

    def __init__(self, url: str, api_key: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Check the address.

        Raises:
            CliError: the URL is none, or would send the key in clear over a network.
        """
        self.url = url.rstrip("/").removesuffix("/dashboard")  # whose address is easily copied
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CliError(
                f"{url!r} is not the URL of a server",
                code=ExitCode.USAGE,
                fix="give one such as https://abc123.execute-api.us-east-1.amazonaws.com",
            )
        is_local = is_loopback(parts.hostname)
        if parts.scheme == "http" and not is_local:
            raise CliError(
                f"{url!r} would send your key unencrypted", code=ExitCode.USAGE, fix="use https://"
            )
        self._timeout_s = timeout_s
        self._http = bounded_session()
        self._http.trust_env = not is_local  # a proxy cannot reach this machine
        self._http.auth = bearer(api_key)

    def get(self, path: str, **query: object) -> Json:
        """GET with a query; absent (None) values are left out."""
        params = {name: str(value) for name, value in query.items() if value is not None}
        return _as_object(self._call("GET", path, params=params))

    def post(self, path: str, body: Mapping[str, object]) -> Json:
        """POST."""
        return _as_object(self._call("POST", path, body=body))

    def put(self, path: str, body: Mapping[str, object]) -> Json:
        """PUT."""
        return _as_object(self._call("PUT", path, body=body))

    def delete(self, path: str) -> Json:
        """DELETE."""
        return _as_object(self._call("DELETE", path, body={}))

    def workers(
        self, *, endpoint_id: int | None = None, autogroup_id: int | None = None
    ) -> list[Json]:
        """The workers of a group or autogroup, which the vendor's API gives as a bare array."""
        kind, identity = (
            ("endpoint", endpoint_id) if autogroup_id is None else ("autogroup", autogroup_id)
        )
        answer = self._call("POST", f"/get_{kind}_workers/", body={"id": identity})
        return answer if isinstance(answer, list) else list(_as_object(answer).get("workers", []))

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> object:
        if bad := _no_number(body):
            raise CliError(
                f"{bad[0]}: {bad[1]} is no number that can be meant",
                code=ExitCode.USAGE,
                fix="give one such as 2.5, or leave it out",
            )
        try:
            answer = self._http.request(
                method,
                self.url + path,
                params=params,
                json=body,
                timeout=self._timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise CliError(
                f"{self.url} does not answer ({type(error).__name__})",
                code=ExitCode.UNREACHABLE,
                fix="is the URL right and the deployment up? `ballast doctor` looks closer",
            ) from error
        return _read_answer(answer, self.url)


def _no_number(value: object, name: str = "") -> tuple[str, float] | None:
    """The field of a body that is infinite or not a number, which JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return name, value
    if isinstance(value, Mapping):
        inner = [(str(key), one) for key, one in value.items()]
    else:
        inner = [(name, one) for one in value] if isinstance(value, list | tuple) else []
    return next((bad for key, one in inner if (bad := _no_number(one, key))), None)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_answer(answer: requests.Response, url: str) -> object:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.status_code in (401, 403):
        fix = LOGIN_FIX if answer.status_code == 401 else ""  # what a key may is told by the server
        raise CliError(_message(content, answer), code=ExitCode.UNAUTHORISED, fix=fix)
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        if isinstance(content, dict) and content.get("error") == "rate_limited":  # not the door
            raise CliError(
                _message(content, answer),
                code=ExitCode.UNREACHABLE,
                fix="wait some seconds, then try again",
            )
        raise CliError(
            f"{url} turns requests away, this one too: more come than it lets through (HTTP 429)",
            code=ExitCode.UNREACHABLE,
            fix="try again; see `flood` in docs/runbook.md",
        )
    if answer.status_code >= 500 or content is None:
        raise CliError(
            f"{url} answered HTTP {answer.status_code}: {_message(content, answer)}",
            code=ExitCode.UNREACHABLE,
            fix="try again; if it stays, see docs/runbook.md",
            kind=str(content.get("error", "")) if isinstance(content, dict) else "",
        )
    failed = isinstance(content, dict) and content.get("success") is False
    if answer.status_code >= 300 or failed:
        message = _message(content, answer)
        fix = WHAT_THERE_IS if answer.status_code == 404 else ""
        if message.startswith(NO_SUCH_PATH):
            fix = "is the URL right? It is what `make deploy` printed, as it stands there"
        raise CliError(message, fix=fix, kind=str(content.get("error", "")))
    return content


def _message(content: object, answer: requests.Response) -> str:
    if isinstance(content, dict):
        for name in ("msg", "error_msg", "message", "error", "Message"):
            if content.get(name):
                return str(content[name])
    return f"HTTP {answer.status_code} {answer.reason}"


def _as_object(content: object) -> Json:
    if not isinstance(content, dict):
        raise CliError(
            "the server answered something other than a JSON object", code=ExitCode.UNREACHABLE
        )
    return content
