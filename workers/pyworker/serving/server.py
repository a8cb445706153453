"""The PyWorker process: puts the parts together, serves, and runs what watches and reports."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
from aiohttp import web

from chalicelib.wire.model_answers import NO_SUCH_PATH
from chalicelib.wire.ticket import LOG_PATH
from chalicelib.wire.trace import HEADER, parse_traceparent
from workers.pyworker.back_end import BackEnd, Route
from workers.pyworker.model.asking import open_model_session
from workers.pyworker.model.engine import Engine
from workers.pyworker.model.engine_metrics import LearnedSlots
from workers.pyworker.model.forwarding import Forwarder
from workers.pyworker.model.life import DEFAULT_PATIENCE, Patience
from workers.pyworker.model.model_watch import ModelWatch
from workers.pyworker.readiness import Readiness
from workers.pyworker.reporting.control_plane import ControlPlane, ControlPlaneError
from workers.pyworker.reporting.error_reports import ErrorReports
from workers.pyworker.reporting.load_ledger import LoadLedger
from workers.pyworker.reporting.log_format import trace_of_task
from workers.pyworker.reporting.messages import Reporter
from workers.pyworker.reporting.problem import ProblemError
from workers.pyworker.reporting.report_loop import ReportLoop
from workers.pyworker.reporting.tracing import SPAN, request_span
from workers.pyworker.serving.connections import ConnectionGuard
from workers.pyworker.serving.envelope import EnvelopeError
from workers.pyworker.serving.facade import Facade, FacadeParts
from workers.pyworker.serving.log_route import LogRoute
from workers.pyworker.serving.reading import MAX_BODY, BodyReader
from workers.pyworker.serving.runner import WorkerRunner
from workers.pyworker.serving.session_routes import SessionRoutes
from workers.pyworker.serving.sessions import SessionTable
from workers.pyworker.serving.tls import Tls
from workers.pyworker.settings import WorkerSettings
from workers.pyworker.tickets.admission import Admission, WorkerIdentity
from workers.pyworker.tickets.legacy_tickets import LegacyAdmission
from workers.pyworker.tickets.server_clock import ServerClock, steady_now
from workers.pyworker.tickets.signing_keys import PublicKeyError, SigningKeys

logger = logging.getLogger(__name__)

BACKLOG = 512
TLS_HANDSHAKE_S = 10.0
KEY_RETRY_S = 5.0
SHUTDOWN_GRACE_S = 5.0
"""For answers under way when we are told to stop; the control plane drains a worker before that."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Worker:
    """One PyWorker: `run` serves until cancelled."""

    def __init__(
        self,
        settings: WorkerSettings,
        back_end: BackEnd,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        self.settings = settings
        self.patience = patience
        self.back_end = back_end.with_benchmark(
            settings.benchmark_route, settings.benchmark_rounds, settings.benchmark_concurrency
        )
        self.boot_id = secrets.token_hex(8)

    async def run(self) -> None:
        """Serve, watch the model server and report, until cancelled or one of them fails."""
        async with AsyncExitStack() as stack:
            model_http = await stack.enter_async_context(open_model_session())
            control_http = await stack.enter_async_context(aiohttp.ClientSession())
            trouble = ErrorReports(self.settings.reporter, control_http)
            tls = await trouble.until_done(
                f"no TLS with {self.settings.tls_cert} and {self.settings.tls_key}", self._tls
            )
            facade = self._assemble(
                model_http,
                ControlPlane(self.settings.control_plane, control_http),
                tls.fingerprint if tls else "",
            )
            sessions = SessionRoutes(facade)
            stack.callback(facade.parts.bodies.close)
            runner = WorkerRunner(self._application(facade, sessions), SHUTDOWN_GRACE_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            facade.parts.guard.make = runner.protocol
            listener = await trouble.until_done(
                f"the PyWorker cannot listen at port {self.settings.port}",
                partial(self._listen, facade.parts.guard, tls.context if tls else None),
            )
            stack.callback(facade.parts.guard.end)
            stack.callback(listener.close)
            logger.info("serving", extra={"url": self.settings.url, "boot_id": self.boot_id})
            async with asyncio.TaskGroup() as tasks:
                for task in self._background(facade, sessions):
                    tasks.create_task(task)
                if tls:
                    tasks.create_task(tls.follow(facade.parts.reports.note_certificate))

    async def _listen(self, guard: ConnectionGuard, tls: ssl.SSLContext | None) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            guard.protocol,
            self.settings.host,
            self.settings.port,
            ssl=tls,
            ssl_handshake_timeout=TLS_HANDSHAKE_S if tls else None,
            reuse_address=True,
            backlog=BACKLOG,
        )

    def _assemble(
        self, model_http: aiohttp.ClientSession, control_plane: ControlPlane, fingerprint: str
    ) -> Facade:
        settings, clock, ledger = self.settings, ServerClock(), LoadLedger()
        reporter = Reporter(
            instance_id=settings.instance_id,
            boot_id=self.boot_id,
            url=settings.url,
            master_token=settings.master_token,
            certificate_sha256=fingerprint,
            slots=1 if self.back_end.is_serial else settings.slots,
        )
        readiness = Readiness(steady_now())
        reports = ReportLoop(control_plane, reporter, readiness, ledger, clock)
        readiness.on_change = reports.note_change
        identity = WorkerIdentity(
            instance_id=settings.instance_id,
            endpoint_id=settings.endpoint_id,
            boot_id=self.boot_id,
            url=settings.url,
        )
        keys = SigningKeys(control_plane.fetch_public_key)
        reports.on_key_change = partial(_refresh_until_known, keys)
        table = SessionTable(settings.max_sessions)
        reports.session_keys = table.keys
        reports.on_keys_ended = lambda names: table.end_keys(names, clock.now())
        older = settings.accept_tickets - {"D"}
        model_url = settings.model_server_url or self.back_end.model_server_url
        return Facade(
            FacadeParts(
                back_end=self.back_end,
                admission=Admission(identity),
                legacy=LegacyAdmission(older, settings.url) if older else None,
                keys=keys,
                clock=clock,
                ledger=ledger,
                readiness=readiness,
                reports=reports,
                forwarder=Forwarder(model_http, model_url, self.patience),
                engine=Engine(LearnedSlots(stated=settings.slots), still_s=self.patience.still_s),
                sessions=table,
                bodies=BodyReader(self.back_end),
                guard=ConnectionGuard(),
                max_queue_time_s=settings.max_queue_time_s or self.back_end.max_queue_time_s,
            )
        )

    def _application(self, facade: Facade, sessions: SessionRoutes) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_problems])
        for route in self.back_end.routes:
            for path in (route.path, *route.aliases):
                app.router.add_post(path, _bind(facade, route))
        app.router.add_post("/session/create", sessions.create)
        app.router.add_post("/session/end", sessions.end)
        app.router.add_post("/session/get", sessions.get)
        app.router.add_post("/session/health", sessions.health)
        app.router.add_post(LOG_PATH, LogRoute(facade, self.settings.model_log).serve)
        app.router.add_get("/ping", _ping)
        return app

    def _background(
        self, facade: Facade, sessions: SessionRoutes
    ) -> list[Coroutine[object, object, None]]:
        parts, settings = facade.parts, self.settings
        watch = ModelWatch(
            self.back_end,
            settings.model_id,
            parts.forwarder,
            parts.readiness,
            parts.engine,
            partial(_tell_supervisor, settings.supervisor_pid),
        )
        store = settings.state_dir / "benchmark.json"
        tasks: list[Coroutine[object, object, None]] = [
            parts.reports.run(),
            sessions.sweep(),
            watch.follow_metrics(),
            _know_key_then(parts.keys, watch.run(store, settings.instance_id)),
        ]
        if settings.model_log:
            tasks.append(watch.follow_log(settings.model_log))
        return tasks

    async def _tls(self) -> Tls | None:
        settings = self.settings
        return Tls(settings.tls_cert, settings.tls_key) if settings.use_ssl else None


def _tell_supervisor(pid: int, is_well: bool) -> None:
    """SIGUSR1: the model server is dead, end what is left of it. SIGUSR2: it is ready."""
    if pid and pid == os.getppid():
        os.kill(pid, signal.SIGUSR2 if is_well else signal.SIGUSR1)


async def _know_key_then(keys: SigningKeys, then: Coroutine[object, object, None]) -> None:
    """A worker that cannot verify tickets is not ready, so the key comes first."""
    try:
        await _refresh_until_known(keys)
        await then
    finally:
        then.close()


async def _refresh_until_known(keys: SigningKeys) -> None:
    while True:
        try:
            await keys.refresh(is_forced=True)
        except (ControlPlaneError, PublicKeyError) as error:
            logger.warning("public key not fetched", extra={"reason": str(error)})
            await asyncio.sleep(KEY_RETRY_S)
        else:
            return


def _bind(facade: Facade, route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await facade.serve(request, route)

    return handle


async def _ping(_request: web.Request) -> web.Response:
    return web.Response(text="pong")


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    resource = request.match_info.route.resource
    path = resource.canonical if resource else "unknown"
    with request_span(path, request.headers.get(HEADER, "")) as span:
        trace_of_task.set(parse_traceparent(span.traceparent))
        request[SPAN] = span
        response = await _answered(request, handler)
        span.status = response.status
        return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except EnvelopeError as error:
        return web.json_response(dict(error.fields), status=422)
    except ProblemError as error:
        return web.json_response(error.body, status=error.status)
    except web.HTTPException as error:  # no such path or method
        words = f"{error.reason}: {request.method} {request.path[:200]}"
        answer = web.json_response({"error": words}, status=error.status)
        if isinstance(error, web.HTTPNotFound):
            answer.headers[NO_SUCH_PATH] = "1"
        return answer


async def run_until_signalled(worker: Worker) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if task:
            loop.add_signal_handler(number, task.cancel)
    try:
        await worker.run()
    except asyncio.CancelledError:
        logger.info("stopped")
