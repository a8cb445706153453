"""A pinned certificate: the worker's own is accepted, another never sees a byte of the request."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from ballast.client.errors import WaitTimeoutError
from ballast.client.sdk import Client
from ballast.client.trust import advice
from fakes.certificate_authority import CertificateAuthority
from fakes.local_http import QuietHandler, serving
from tests.ballast.client.world import Servers, servers
from workers.pyworker.supervision.certificate import check_certificate, make_request


@contextmanager
def tls_worker(bodies: list[bytes], folder: Path) -> Iterator[tuple[str, str]]:
    """The worker over TLS: its address and its certificate's SHA-256."""
    key, request = make_request("127.0.0.1")
    authority = CertificateAuthority()
    certificate = authority.sign(request)
    check_certificate(certificate, "127.0.0.1", 1_800_000_000)
    (folder / "crt").write_bytes(certificate)
    (folder / "key").write_bytes(key)
    (folder / "root").write_bytes(authority.pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "crt", folder / "key")
    der = ssl.PEM_cert_to_DER_cert(certificate.decode())
    with serving(_Echo, partial(_EchoServer, bodies=bodies, context=context)) as address:
        yield f"https://{address}", hashlib.sha256(der).hexdigest()


class _EchoServer(ThreadingHTTPServer):
    """Over TLS, and silent about handshakes that fail: asyncio's server leaks those."""

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[QuietHandler],
        *,
        bodies: list[bytes],
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(address, handler)
        self.bodies = bodies
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that the client ended."""


class _Echo(QuietHandler):
    server: _EchoServer

    def answer(self) -> None:
        body = self.read()
        self.server.bodies.append(body)
        self.reply(200, json.dumps(json.loads(body)["payload"]).encode())


def grant_tls(it: Servers, url: str, fingerprint: str | None) -> None:
    def grant(body: dict[str, object]) -> dict[str, object]:
        extra = {"certificate_sha256": fingerprint} if fingerprint else {}
        return {**it.grant(body), "url": url, **extra}

    it.control_plane.next_grant = grant


def test_the_certificate_in_the_grant_is_enough(tmp_path: Path) -> None:
    bodies: list[bytes] = []
    with servers() as it, tls_worker(bodies, tmp_path) as (url, fingerprint):
        grant_tls(it, url, fingerprint)
        with (
            Client("k", it.control_plane_url) as client,
            client.request("e", "/generate", {"inputs": "hi"}) as answer,
        ):
            assert answer.json() == {"inputs": "hi"}


@pytest.mark.parametrize("fingerprint", ["00" * 32, None])
def test_a_stranger_on_the_workers_address_gets_no_byte(
    tmp_path: Path, fingerprint: str | None
) -> None:
    """The port was let to somebody else: the handshake ends it, pinned or not."""
    bodies: list[bytes] = []
    with servers() as it, tls_worker(bodies, tmp_path) as (url, _):
        grant_tls(it, url, fingerprint)
        with (
            Client("k", it.control_plane_url, pause=lambda _s: None) as client,
            pytest.raises(WaitTimeoutError),
        ):
            client.request("e", "/generate", {"inputs": "private"}, timeout_s=0.2)
        assert bodies == []


def test_trusting_the_authority_works_too(tmp_path: Path) -> None:
    bodies: list[bytes] = []
    with servers() as it, tls_worker(bodies, tmp_path) as (url, _):
        grant_tls(it, url, None)
        with Client("k", it.control_plane_url, worker_ca=str(tmp_path / "root")) as client:
            client.request("e", "/generate", {"inputs": "hi"}).close()
        assert len(bodies) == 1


def test_the_trust_helper_prints_and_changes_nothing(tmp_path: Path) -> None:
    store = tmp_path / "cacert.pem"
    store.write_text("# roots\n")
    pem = CertificateAuthority().pem.decode()
    text = advice(pem, store, Path("workers-root.pem"))
    assert f"cat workers-root.pem >> {store}" in text
    assert store.read_text() == "# roots\n"
    store.write_text(pem)
    assert "already trusts" in advice(pem, store, Path("x"))
