"""Hugging Face's two addresses, as recorded: what `ballast up` reads of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.local_http import QuietHandler, serving

MODELS = json.loads((Path(__file__).parents[2] / "evidence/huggingface/models.json").read_text())


class _Hub(QuietHandler):
    """401 for a gated configuration, and for a model that is not there."""

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        found: object = None
        for name, row in MODELS.items():
            if path == f"/api/models/{name}":
                found = row["model"]
            elif path == f"/{name}/resolve/main/config.json":
                found = row["config"]
        self.reply(200 if found else 401, json.dumps(found).encode())


@contextmanager
def serve_hub() -> Iterator[str]:
    """The recorded Hub; gives its URL, for HF_ENDPOINT."""
    with serving(_Hub) as address:
        yield f"http://{address}"
