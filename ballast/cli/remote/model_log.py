"""The model server's log of one worker, straight from that worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing

import requests

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import not_found
from ballast.cli.remote.server import Json, Server
from ballast.client.route_reply import Grant, parse_route_reply
from ballast.client.transport import Transport, WorkerUnreachableError
from chalicelib.wire.ticket import LOG_PATH

READ_TIMEOUT_S = 60.0
SILENCE_S = 3700.0
"""Nothing is written to a log for hours; the worker ends what is followed after one."""
_TELLING = ("error", "model_loading", "rebooting", "starting", "suspect", "ready", "draining")
"""Whose log is wanted when nobody names a worker: that of the one in most trouble."""


def chosen(workers: Sequence[Json], wanted: int | None, group: str) -> Json:
    """The worker whose log to read.

    Raises:
        CliError: there is none, or not this one.
    """
    known = {int(one["id"]): one for one in workers}
    if wanted is not None:
        if wanted in known:
            return known[wanted]
        raise not_found(f"{group} worker", str(wanted), map(str, known))
    running = [one for one in workers if _state(one) in _TELLING]
    if not running:
        raise CliError(
            f"no worker of {group} is running", fix=f"`ballast workers {group}` says what they are"
        )
    return min(running, key=lambda one: (not one.get("error"), _TELLING.index(_state(one))))


def _state(worker: Json) -> str:
    state = str(worker.get("state") or worker.get("status"))
    return "ready" if state == "idle" else state


def model_log(
    server: Server, endpoint: Json, worker_id: int, *, n_lines: int, follows: bool
) -> Iterator[str]:
    """Its lines as they come.

    Raises:
        CliError: this key may not, the worker has not reported, cannot be reached, or refuses.
    """
    asked = {"endpoint": endpoint["endpoint_name"], "model_log_of": worker_id}
    reply = server.post("/route/", asked)
    grant = parse_route_reply(200, json.dumps(reply))
    if not isinstance(grant, Grant):
        raise CliError(
            "the server is older than this command: it gives no log", fix="make deploy STAGE=…"
        )
    with closing(Transport(server.url, "")) as transport:
        payload = {"tail": n_lines, "follow": follows}
        timeout_s = SILENCE_S if follows else READ_TIMEOUT_S
        try:
            answer = transport.call_worker(grant, LOG_PATH, payload, timeout_s, streams=follows)
        except WorkerUnreachableError as error:
            raise _unreachable(worker_id, grant.url, str(error)) from error
        with closing(answer):
            if answer.status_code != 200:
                raise CliError(
                    f"worker {worker_id} answered {answer.status_code}: {answer.text[:300]}"
                )
            try:
                for line in answer.iter_lines():
                    yield line.decode(errors="replace")
            except requests.RequestException as error:
                raise CliError(
                    f"the log of worker {worker_id} broke off: it was stopped, restarted or lost",
                    code=ExitCode.UNREACHABLE,
                    fix=f"`ballast logs {endpoint['endpoint_name']}` says which",
                ) from error


def _unreachable(worker_id: int, url: str, why: str) -> CliError:
    return CliError(
        f"worker {worker_id} at {url} does not answer ({why})",
        code=ExitCode.UNREACHABLE,
        fix="Vast's page of the instance shows its log; `ballast status` says what the group does",
    )
