"""What `gateway.py` serves by gunicorn: the hot function behind the gateway, and its limits.

`BENCH_APPLICATION` names one: `ours`, `signature` (a bare WSGI application that signs once) or
`signature and write` (the same with one botocore UpdateItem, answered inside the process).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from chalicelib.adapters.aws.clients import client_config
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.adapters.system import SystemClock
from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.routing import routing_blueprint
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.ports.worker_repository import Grant
from chalicelib.services.routing.views import rebuild_view
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld, make_group
from fakes.ports.clock import ManualClock
from lab.bench.canned_aws import CannedDynamoDb
from lab.local.gateway.gateway import FAULTS_FILE_VARIABLE, application_over
from lab.local.gateway.gateway_faults import GatewayFaults

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

APPLICATION_VARIABLE = "BENCH_APPLICATION"
N_WORKERS = 100
MESSAGE = b"x" * 200  # about what a ticket signs
ANSWER = b"y" * 900  # about what a grant answers


def create_application() -> WSGIApplication:
    """The application that the environment names."""
    return APPLICATIONS[os.environ[APPLICATION_VARIABLE]]()


def _world() -> HotWorld:
    world = HotWorld(clock=ManualClock(time.time()))
    world.publish(make_group())
    world.signer.create_key(0.0)
    for i in range(1, N_WORKERS + 1):
        values = {"ticket": TicketGeneration.D, "boot_id": f"{i:016x}", "key_id": "0"}
        world.add_worker(i, perf=1e9, **values)
    rebuild_view(world.ports(), ENDPOINT_ID, world.clock.now())
    return world


def _ours() -> WSGIApplication:
    """The hot function as the local gateway serves it; every ticket is signed anew."""
    world, clock = _world(), SystemClock()
    rows = DynamoWorkerRepository(CannedDynamoDb(client_config()).client, "bench")
    ports = replace(world.ports(), clock=clock, workers=rows)
    app = BallastApp("bench")
    app.register_blueprint(routing_blueprint(lambda: ports))
    faults = GatewayFaults(Path(os.environ[FAULTS_FILE_VARIABLE]))
    gateway = application_over(SimpleNamespace(hot=app), faults)
    views, key = world.views.views, (ENDPOINT_ID, 0)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if clock.now() - views[key].built_at > 1.0:  # as reports would
            views[key] = replace(views[key], built_at=clock.now())
        return gateway(environ, start_response)

    return application


def _bare(work: Callable[[], object]) -> WSGIApplication:
    """An application that reads the body, works and answers."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        work()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))]
        start_response("200 OK", headers)
        return [ANSWER]

    return application


def _signature() -> WSGIApplication:
    world = _world()
    return _bare(lambda: world.signer.sign("0", MESSAGE))


def _signature_and_write() -> WSGIApplication:
    world = _world()
    rows, grant = DynamoWorkerRepository(CannedDynamoDb().client, "bench"), Grant(cost=100.0)

    def work() -> None:
        world.signer.sign("0", MESSAGE)
        rows.reserve(ENDPOINT_ID, 1, grant)

    return _bare(work)


APPLICATIONS: dict[str, Callable[[], WSGIApplication]] = {
    "ours": _ours,
    "signature": _signature,
    "signature and write": _signature_and_write,
}
