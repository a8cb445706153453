"""The workers' bundle is served by its hash, as it is."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.bundle import bundle_blueprint
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import event_of

DATA = b"\x1f\x8b\x00binary"
SHA256 = hashlib.sha256(DATA).hexdigest()


def get(folder: Path, path: str) -> Any:
    """The answer of an app that serves the bundle in a folder."""
    app = BallastApp("ballast")
    app.register_blueprint(bundle_blueprint(folder))
    return app(event_of("GET", path, b"", {}), LambdaContext("app", 1.0))


def test_a_bundle_is_named_by_its_hash_and_comes_back_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "workers.tar.gz").write_bytes(DATA)
    info = json.loads(get(tmp_path, "/bundle/")["body"])
    assert (info["sha256"], info["size"]) == (SHA256, len(DATA))
    answer = get(tmp_path, f"/bundle/{SHA256}.tar.gz")
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == DATA
    assert answer["headers"]["Content-Type"] == "application/gzip"


def test_without_a_bundle_the_answer_says_how_to_make_one(tmp_path: Path) -> None:
    for path in ("/bundle/", f"/bundle/{SHA256}.tar.gz", "/bundle/..%2f..%2fapp.py"):
        answer = get(tmp_path, path)
        assert answer["statusCode"] == 404
        assert "workers.bundle" in answer["body"]
