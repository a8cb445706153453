"""A control plane over HTTP as workers and clients see it: key, reports, signed tickets, routes."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.wire.ticket import Claims, join_signature


@dataclass
class TicketSigner:
    """An RSA-2048 key that signs tickets of any generation."""

    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )

    @property
    def public_pem(self) -> str:
        """What `/pubkey/` answers."""
        public = self.key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return self.key.sign(message, PKCS1v15(), SHA256())

    def sign_text(self, message: bytes) -> str:
        """The signature field of generations A, B and C."""
        return base64.b64encode(self.sign(message)).decode()

    def ticket(self, claims: Claims) -> dict[str, object]:
        """The grant a client gets and passes on as `auth_data`."""
        blob = claims.to_bytes()
        return {
            "endpoint": claims.endpoint,
            "url": claims.url,
            "cost": claims.cost,
            "reqnum": claims.reqnum,
            "request_idx": claims.request_idx,
            "signature": join_signature(blob, self.sign(blob)),
        }


@dataclass
class ControlPlaneServer:
    """Remembers what workers told it; `status` other than 200 makes it fail."""

    signer: TicketSigner = field(default_factory=TicketSigner)
    reports: list[dict[str, object]] = field(default_factory=list)
    finished: list[dict[str, object]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    n_key_fetches: int = 0
    status: int = 200
    clock_offset_s: float = 0.0
    key_id: str = "k1"
    tells_time: bool = True
    routes: list[dict[str, object]] = field(default_factory=list)  # bodies of /route/
    route_authorizations: list[str] = field(default_factory=list)
    route_traces: list[str] = field(default_factory=list)
    route_replies: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    next_grant: Callable[[dict[str, object]], dict[str, object]] | None = None
    """Routing: first `route_replies` one by one, then `next_grant` of the request's body."""

    bundles: dict[str, bytes] = field(default_factory=dict)
    """What `/bundle/NAME` answers, by name."""

    def application(self) -> web.Application:
        """The routes that workers and clients call."""
        app = web.Application()
        app.router.add_get("/pubkey/", self._public_key)
        app.router.add_post("/worker_status/", self._report)
        app.router.add_post("/delete_requests/", self._finished)
        app.router.add_post("/route/", self._route)
        app.router.add_get("/bundle/{name}", self._bundle)
        return app

    @property
    def last_report(self) -> dict[str, object]:
        """The newest report; empty before the first."""
        return self.reports[-1] if self.reports else {}

    async def _public_key(self, request: web.Request) -> web.Response:
        self.n_key_fetches += 1
        self.authorizations.append(request.headers.get("Authorization", ""))
        return web.Response(text=self.signer.public_pem, status=self.status)

    async def _report(self, request: web.Request) -> web.Response:
        self.authorizations.append(request.headers.get("Authorization", ""))
        if self.status == 200:
            self.reports.append(await request.json())
        reply: dict[str, object] = {"key_id": self.key_id}
        if self.tells_time:
            reply["now"] = time.time() + self.clock_offset_s  # noqa: TID251  a server has a clock
        return web.json_response(reply, status=self.status)

    async def _finished(self, request: web.Request) -> web.Response:
        if self.status == 200:
            self.finished.extend((await request.json())["requests"])
        return web.json_response({}, status=self.status)

    async def _bundle(self, request: web.Request) -> web.Response:
        data = self.bundles.get(request.match_info["name"])
        return web.Response(status=404) if data is None else web.Response(body=data)

    async def _route(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.routes.append(body)
        self.route_authorizations.append(request.headers.get("Authorization", ""))
        self.route_traces.append(request.headers.get("traceparent", ""))
        if self.route_replies:
            status, reply = self.route_replies.pop(0)
            return web.json_response(reply, status=status)
        if self.next_grant is None:
            return web.json_response({"endpoint": "", "request_idx": 1, "status": "no workers"})
        return web.json_response(self.next_grant(body))
