"""Hugging Face's two addresses, as recorded: what `ballast up` reads of a model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODELS = json.loads((Path(__file__).parents[2] / "evidence/huggingface/models.json").read_text())


class _Hub(BaseHTTPRequestHandler):
    """401 for a gated configuration, and for a model that is not there."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        found: object = None
        for name, row in MODELS.items():
            if path == f"/api/models/{name}":
                found = row["model"]
            elif path == f"/{name}/resolve/main/config.json":
                found = row["config"]
        body = json.dumps(found).encode()
        self.send_response(200 if found else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def serve_hub() -> Iterator[str]:
    """The recorded Hub; gives its URL, for HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
