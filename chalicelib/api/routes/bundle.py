"""The workers' own code, which an instance downloads when it starts; it holds no secrets."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from chalice import Blueprint
from chalice.app import Response

from chalicelib.api.errors import error_response, json_response
from chalicelib.ports.errors import NotFoundError

FOLDER = Path(__file__).parents[2] / "worker_bundle"


def bundle_blueprint(folder: Path = FOLDER) -> Blueprint:
    """The routes of the bundle that lies in a folder."""
    blueprint = Blueprint(__name__)

    @blueprint.route("/bundle", methods=["GET"], name="bundle_info")
    def info() -> Response:
        bundle = read_bundle(folder)
        if bundle is None:
            return _missing()
        return json_response({"success": True, "sha256": bundle[0], "size": len(bundle[1])})

    @blueprint.route("/bundle/{name}", methods=["GET"], name="bundle_file")
    def download(name: str) -> Response:
        bundle = read_bundle(folder)
        if bundle is None or name != f"{bundle[0]}.tar.gz":
            return _missing()
        headers: dict[str, str | list[str]] = {
            "Content-Type": "application/gzip",
            "Cache-Control": "public, max-age=31536000, immutable",
        }
        return Response(body=bundle[1], headers=headers)

    return blueprint


@cache
def read_bundle(folder: Path) -> tuple[str, bytes] | None:
    """(SHA-256 as hex, bytes) of the one archive in a folder; None if there is none."""
    for path in sorted(folder.glob("*.tar.gz")):
        data = path.read_bytes()
        return hashlib.sha256(data).hexdigest(), data
    return None


def _missing() -> Response:
    hint = "no such bundle; `python -m workers.bundle chalicelib/worker_bundle` makes it"
    return error_response(NotFoundError(hint))
