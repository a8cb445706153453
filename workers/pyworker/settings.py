"""What a PyWorker reads from its environment: the only module here that does.

Vast injects CONTAINER_ID, PUBLIC_IPADDR and VAST_TCP_PORT_<N>; the control plane adds REPORT_ADDR
and MASTER_TOKEN; the template adds the rest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from chalicelib.wire.worker_env import reads_as_true

SUPERVISOR_PID = "BALLAST_SUPERVISOR_PID"
"""Set by the supervisor for the PyWorker that it starts."""


class SettingsError(ValueError):
    """A variable is missing or wrong; the message names it and the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPlaneAddress:
    """Where reports go: base URL without user-info, and the Basic user and password if any."""

    url: str
    user: str = ""
    password: str = ""

    @staticmethod
    def from_text(text: str) -> ControlPlaneAddress:
        """The address in REPORT_ADDR.

        Raises:
            SettingsError: not one http(s) URL.
        """
        if "," in text:
            raise SettingsError("REPORT_ADDR holds several addresses; give exactly one")
        parts = urlsplit(text.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("REPORT_ADDR is not an http:// or https:// address")
        host = parts.netloc.rpartition("@")[2]
        return ControlPlaneAddress(
            url=urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")),
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReporterIdentity:
    """The least that is needed to tell the control plane what is wrong."""

    instance_id: int
    master_token: str = field(repr=False)
    control_plane: ControlPlaneAddress = field(repr=False)

    @staticmethod
    def from_env(env: Mapping[str, str]) -> ReporterIdentity:
        """Who reports, and where.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        return ReporterIdentity(
            instance_id=_int(env, "CONTAINER_ID", None),
            master_token=_required(env, "MASTER_TOKEN"),
            control_plane=ControlPlaneAddress.from_text(_required(env, "REPORT_ADDR")),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """One PyWorker's configuration. Secrets are kept out of `repr` by `__repr__`."""

    instance_id: int
    endpoint_id: int | None  # from MASTER_TOKEN, None when it is not one of ours
    url: str  # as clients reach this worker
    port: int
    host: str
    control_plane: ControlPlaneAddress
    master_token: str
    use_ssl: bool
    tls_cert: Path
    tls_key: Path
    model_log: Path | None
    model_server_url: str  # empty: the back end's own default
    state_dir: Path
    model_id: str
    accept_tickets: frozenset[str]
    max_queue_time_s: float | None  # None: the back end's own default
    max_sessions: int
    slots: int  # requests the model server works on at once; 0: not known
    benchmark_route: str  # empty: the back end's own default
    benchmark_rounds: int  # 0: the back end's own default
    benchmark_concurrency: int  # 0: the back end's own default
    log_level: str
    supervisor_pid: int  # who ends a dead model server for us; 0: nobody

    @property
    def reporter(self) -> ReporterIdentity:
        """Who reports, and where."""
        return ReporterIdentity(
            instance_id=self.instance_id,
            master_token=self.master_token,
            control_plane=self.control_plane,
        )

    def __repr__(self) -> str:
        return f"WorkerSettings(instance_id={self.instance_id}, url={self.url!r})"

    @staticmethod
    def from_env(env: Mapping[str, str] = os.environ) -> WorkerSettings:
        """The settings in `env`.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        reporter = ReporterIdentity.from_env(env)
        port = _int(env, "WORKER_PORT", "3000")
        use_ssl = reads_as_true(env.get("USE_SSL", ""))
        public_ip = _required(env, "PUBLIC_IPADDR")
        public_port = _public_port(env, port)
        model_log = env.get("MODEL_LOG", "")
        return WorkerSettings(
            instance_id=reporter.instance_id,
            endpoint_id=_endpoint_id(reporter.master_token),
            url=f"{'https' if use_ssl else 'http'}://{public_ip}:{public_port}",
            port=port,
            host=env.get("WORKER_HOST", "0.0.0.0"),  # noqa: S104  the mapped port is the way in
            control_plane=reporter.control_plane,
            master_token=reporter.master_token,
            use_ssl=use_ssl,
            tls_cert=Path(env.get("TLS_CERT", "/etc/instance.crt")),
            tls_key=Path(env.get("TLS_KEY", "/etc/instance.key")),
            model_log=Path(model_log) if model_log else None,
            model_server_url=env.get("MODEL_SERVER_URL", "").rstrip("/"),
            state_dir=Path(env.get("STATE_DIR", ".")),
            model_id=env.get("MODEL_NAME") or env.get("MODEL_ID") or env.get("COMFY_MODEL", ""),
            accept_tickets=_generations(env.get("ACCEPT_TICKETS", "D")),
            max_queue_time_s=_seconds(env, "MAX_QUEUE_TIME"),
            max_sessions=_int(env, "MAX_SESSIONS", "10"),
            slots=_int(env, "MODEL_SLOTS", "0"),
            benchmark_route=env.get("BENCHMARK_ROUTE", ""),
            benchmark_rounds=_int(env, "BENCHMARK_ROUNDS", "0"),
            benchmark_concurrency=_int(env, "BENCHMARK_CONCURRENCY", "0"),
            log_level=_log_level(env.get("LOG_LEVEL", "INFO").upper()),
            supervisor_pid=_int(env, SUPERVISOR_PID, "0"),
        )


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} must be set and not empty")
    return value


def _int(env: Mapping[str, str], name: str, default: str | None) -> int:
    text = _required(env, name) if default is None else env.get(name) or default
    if not (text.isascii() and text.isdigit()):
        raise SettingsError(f"{name}={text!r} is not a whole number")
    return int(text)


def _public_port(env: Mapping[str, str], port: int) -> int:
    name = f"VAST_TCP_PORT_{port}"
    if not env.get(name):
        raise SettingsError(f"{name} is not set: the template must publish -p {port}:{port}")
    return _int(env, name, None)


def _log_level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text not in levels:
        raise SettingsError(f"LOG_LEVEL={text!r} must be one of {', '.join(levels)}")
    return text


def _seconds(env: Mapping[str, str], name: str) -> float | None:
    text = env.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise SettingsError(f"{name}={text!r} is not a positive number of seconds")
    return value


def _endpoint_id(token: str) -> int | None:
    """The endpoint group in a token `ENDPOINT_ID.INTENT_TOKEN.MAC`."""
    head = token.split(".")[0]
    return int(head) if token.count(".") == 2 and head.isascii() and head.isdigit() else None


def _generations(text: str) -> frozenset[str]:
    names = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    if not names or names - set("ABCD"):
        raise SettingsError(f"ACCEPT_TICKETS={text!r} must list some of A, B, C, D")
    return names
