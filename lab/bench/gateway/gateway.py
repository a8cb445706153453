"""`python -m lab.bench gateway`: grants per second of the local gateway, against its limits.

The hot function behind the gateway, on rows answered inside the process, served by gunicorn with 1
and 2 processes of 8 threads; beside it, in the same gunicorn, a bare WSGI application with one
RSA-2048 signature, and one with a signature and an UpdateItem. All get the same requests in turn.
The clients share the machine, which brings the ratios nearer to 1 than they are.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from chalicelib.services.keys import endpoint_key
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME
from fakes.ports.secret_box import FakeSecretBox
from lab.bench.gateway.gateway_apps import APPLICATION_VARIABLE, APPLICATIONS
from lab.local.gateway.gateway import FAULTS_FILE_VARIABLE
from lab.local.gateway.servers import start_gunicorn
from lab.local.processes.children import Children, listen

N_CONNECTIONS = 16
LIMITS = ("signature", "signature and write")
OURS = "ours"
TIMEOUT_S = 60.0


def request_bytes() -> bytes:
    """One request for a worker, as it goes over the wire."""
    body = json.dumps(
        {
            "endpoint": ENDPOINT_NAME,
            "api_key": endpoint_key(FakeSecretBox(), ENDPOINT_ID, 1),
            "cost": 100.0,
            "request_idx": 0,
        }
    )
    head = f"POST /route/ HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n{body}".encode()


class Load:
    """Connections that ask as fast as they are answered."""

    def __init__(self, address: tuple[str, int], seconds: float) -> None:
        self._address, self._request = address, request_bytes()
        self._ends_at = time.monotonic() + seconds
        self._counts: list[int] = []
        self.problems: list[str] = []

    def run(self) -> int:
        """How many were answered until the time was up."""
        threads = [threading.Thread(target=self._ask) for _ in range(N_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(self._counts)

    def _ask(self) -> None:
        n = 0
        with socket.create_connection(self._address, TIMEOUT_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.monotonic() < self._ends_at:
                connection.sendall(self._request)
                answer = read_answer(connection)
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.problems.append(answer[:200].decode(errors="replace"))
                    return
                n += 1
        self._counts.append(n)


def read_answer(connection: socket.socket) -> bytes:
    """One whole answer with a Content-Length.

    Raises:
        ConnectionError: the server hung up.
    """
    answer = b""
    while True:
        part = connection.recv(65_536)
        if not part:
            raise ConnectionError("the server hung up")
        answer += part
        head, ends, body = answer.partition(b"\r\n\r\n")
        if ends and len(body) >= _length(head):
            return answer


def _length(head: bytes) -> int:
    return next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )


def measure(n_processes: int, n_blocks: int, seconds: float) -> dict[str, float]:
    """Median requests per second of each application, and our ratios to the limits' pairwise."""
    rates: dict[str, list[float]] = {name: [] for name in APPLICATIONS}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        children = Children(directory)
        stack.callback(children.stop)
        addresses = {}
        for name in APPLICATIONS:
            listener = stack.enter_context(listen())
            environment = {
                **os.environ,
                APPLICATION_VARIABLE: name,
                FAULTS_FILE_VARIABLE: str(directory / "no-faults.json"),
            }
            module = "lab.bench.gateway.gateway_apps"
            start_gunicorn(children, name, module, listener.fileno(), environment, n_processes)
            addresses[name] = listener.getsockname()
        for block in range(-1, n_blocks):  # the first only warms up
            for name, address in addresses.items():
                load = Load(address, seconds)
                n = load.run()
                children.check()
                if load.problems:
                    raise RuntimeError(f"{name}: {load.problems[0]}")
                if block >= 0:
                    rates[name].append(n / seconds)
    return {name: round(median(found), 1) for name, found in rates.items()} | {
        f"ratio to {limit}": round(_ratio(rates[OURS], rates[limit]), 3) for limit in LIMITS
    }


def _ratio(ours: Sequence[float], limit: Sequence[float]) -> float:
    return median(a / b for a, b in zip(ours, limit, strict=True))


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench gateway", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per block")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = {n: measure(n, options.blocks, options.seconds) for n in options.processes}
    if options.json:
        print(json.dumps(report))
        return 0
    for n, figures in report.items():
        print(f"{n} process{'es' if n > 1 else ''}")
        for name, value in figures.items():
            print(f"  {name:<30} {value:10.3f}")
    return 0
