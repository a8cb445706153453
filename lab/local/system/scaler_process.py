"""The local scaler: runs the scheduled function again and again, and answers invocations.

Stands in for EventBridge, whose one-minute schedule starts `scaling_loop`, and for Lambda's Invoke
API, through which the other functions poke the scaler and ask it questions. So `adapters/
scaler_poke.py` runs here as it does on AWS.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.local.gateway.lambda_context import LambdaContext

logger = logging.getLogger(__name__)

SCHEDULE_TIMEOUT_S = 58.0
PAUSE_S = 1.0
"""Between two runs of the schedule. On AWS an idle run is followed by the next within a minute."""

Function = Callable[[dict[str, Any], Any], Any]


def main() -> None:
    """Serve the socket that the parent opened, and run the schedule until the process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="listening socket")
    parser.add_argument("--pause", type=float, default=PAUSE_S, help="seconds between two runs")
    args = parser.parse_args()
    functions = importlib.import_module("app")
    server = InvokeServer(socket.socket(fileno=args.fd), functions.scaler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        try:
            functions.scaling_loop(
                _schedule_event(), LambdaContext("scaling_loop", SCHEDULE_TIMEOUT_S)
            )
        except Exception:  # a failed run is logged, and the schedule goes on, as on AWS
            logger.exception("the scheduled function failed")
        time.sleep(args.pause)


def _schedule_event() -> dict[str, Any]:
    """What EventBridge sends."""
    return {
        "version": "0",
        "account": "123456789012",
        "region": "us-east-1",
        "detail": {},
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "id": "devstack",
        "resources": [],
    }


class InvokeServer(ThreadingHTTPServer):
    """Lambda's Invoke API for one function, on a socket that listens already."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, function: Function) -> None:
        super().__init__(listener.getsockname(), _InvokeHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.function = function


class _InvokeHandler(BaseHTTPRequestHandler):
    """`POST /2015-03-31/functions/NAME/invocations`."""

    protocol_version = "HTTP/1.1"
    server: InvokeServer

    def do_POST(self) -> None:
        """Run the function: at once and answer, or later if the caller does not wait."""
        event = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        if self.headers.get("X-Amz-Invocation-Type") == "Event":
            threading.Thread(target=self._run, args=(event,), daemon=True).start()
            self._answer(202, b"", {})
            return
        try:
            answer = json.dumps(self._run(event)).encode()
        except Exception as error:  # noqa: BLE001  Lambda tells its caller of any failure
            failure = {"errorType": type(error).__name__, "errorMessage": str(error)}
            self._answer(200, json.dumps(failure).encode(), {"X-Amz-Function-Error": "Unhandled"})
            return
        self._answer(200, answer, {})

    def _run(self, event: dict[str, Any]) -> Any:
        return self.server.function(event, LambdaContext("scaler", SCHEDULE_TIMEOUT_S))

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log to what the scaler itself says."""


if __name__ == "__main__":
    main()
