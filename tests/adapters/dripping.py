"""A server that drips: each read has something in time, and the answer never ends."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.certificate_authority import CertificateAuthority
from workers.pyworker.supervision.certificate import make_request

OK = b"HTTP/1.1 200 OK\r\n"
DRIPS_BY_NAME = {
    "status": (b"", b"H"),
    "headers": (OK, b"x-a: b\r\n"),
    "one header": (OK + b"x-endless: ", b"a"),
    "body": (OK + b"content-length: 9999\r\n\r\n", b"{"),
    "body, closing": (OK + b"content-length: 9999\r\nconnection: close\r\n\r\n", b"{"),
    "body to the end": (OK + b"connection: close\r\n\r\n{}", b" "),
    "chunks": (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n{\r\n"),
    "a chunk's head": (OK + b"transfer-encoding: chunked\r\n\r\n1;", b"x"),
    "silence": (OK + b"content-length: 10\r\n\r\n{}", b""),
}
"""What comes at once, and what comes ten times a second after it."""
DRIPS = list(DRIPS_BY_NAME.values())


@contextmanager
def dripping(begin: bytes, drip: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that sends `begin` at once and then `drip` ten times a second, for ever."""
    is_over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = listener.accept()
        connection = tls.wrap_socket(accepted, server_side=True) if tls else accepted
        with connection:
            connection.recv(65_536)
            try:
                connection.sendall(begin)
                while not is_over.wait(0.1):
                    connection.sendall(drip)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        is_over.set()
        thread.join()
        listener.close()


def certified(folder: Path) -> ssl.SSLContext:
    """A receiver's side of TLS; who signed its certificate is in the file `root`."""
    key, request = make_request("127.0.0.1")
    authority = CertificateAuthority()
    files = {"key": key, "crt": authority.sign(request), "root": authority.pem}
    for name, pem in files.items():
        (folder / name).write_bytes(pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context
