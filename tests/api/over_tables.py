"""The whole HTTP app over its own tables (on corrected moto), as called or served over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from chalicelib import wiring
from chalicelib.adapters.aws.clients import aws_session
from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.blueprints import Wired, blueprints_for
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.keys import worker_token
from infra.bootstrap import Caps, bootstrap
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import event_of

ENDPOINT = "TGI-Llama3"


@dataclass
class Deployment:
    """A new deployment with one endpoint group; the test takes the scaler's place and rents.

    `told`: the entries of every `/delete_requests/` that the reports service took.
    """

    app: BallastApp
    ports: ApiPorts
    key: str
    endpoint_id: int = 0
    autogroup_id: int = 0
    told: list[Mapping[str, Any]] = field(default_factory=list)

    @staticmethod
    def create(note: Callable[..., None] | None = None) -> Deployment:
        """In the AWS account and with the variables of this process.

        `note` is told of each AWS call, as a handler of botocore's before-call events.
        """
        wiring.reset()
        if note:
            aws_session().register("before-call", note)
        key = bootstrap("test", Caps(), public_url="https://ballast.example") or ""
        app = BallastApp("ballast")
        wired = Wired(
            hot_ports=wiring.hot_ports,
            api_ports=wiring.api_ports,
            root_certificate=wiring.root_certificate,
            deployment=wiring.deployment(),
        )
        for blueprint in blueprints_for("", wired):
            app.register_blueprint(blueprint)
        it = Deployment(app, wiring.api_ports(), key)
        body = {"endpoint_name": ENDPOINT, "template_hash": "abc"}
        it.autogroup_id = int(it.call("/api/v0/autojobs/", body)["id"])
        it.endpoint_id = it.ports.groups.list_groups()[0].endpoint_id
        return it

    def call(self, path: str, body: object) -> Any:
        """What a POST with the admin's key is answered."""
        raw, headers = json.dumps(body).encode(), {"Authorization": f"Bearer {self.key}"}
        answer = self.app(event_of("POST", path, raw, headers), LambdaContext("app", 29.0))
        assert answer["statusCode"] == 200, answer["body"]
        return json.loads(answer["body"])

    def rows(self) -> Sequence[Worker]:
        """The workers' rows as they are in the table."""
        return self.ports.workers.list(self.endpoint_id)

    def rent(self, instance_id: int, url: str, **values: object) -> str:
        """The row that a confirmed rental leaves, but for `values`, and its MASTER_TOKEN."""
        now, intent = self.ports.clock.now(), f"intent{instance_id}"
        self.ports.workers.add(
            replace(
                self._rented(instance_id, url, intent, now),
                **values,  # type: ignore[arg-type]
            )
        )
        return worker_token(self.ports.secrets, self.endpoint_id, intent)

    def _rented(self, instance_id: int, url: str, intent: str, now: float) -> Worker:
        return Worker(
            endpoint_id=self.endpoint_id,
            instance_id=instance_id,
            autogroup_id=self.autogroup_id,
            created_at=now,
            token=intent,
            key_id=self.ports.signer.newest(now).key_id,
            gpu_name="RTX 4090",
            usd_per_hour=0.4,
            url=url,
            uses_ssl=False,
            state=WorkerState.MODEL_LOADING,
            state_since=now,
        )

    def application(self) -> web.Application:
        """Every path goes to the app, as the API gateway sends it, one request at a time."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        return application

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        event = event_of(request.method, request.raw_path, body, request.headers)
        answer = self.app(event, LambdaContext("app", 29.0))
        if request.path == "/delete_requests/" and answer["statusCode"] == 200:
            self.told += json.loads(body)["requests"]
        return web.Response(
            status=answer["statusCode"], text=answer["body"], headers=answer["headers"]
        )
