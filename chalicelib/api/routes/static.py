"""The dashboard's static files; they hold no data, so they need no key."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from chalice import Blueprint
from chalice.app import Response

from chalicelib.api.errors import error_response
from chalicelib.ports.errors import NotFoundError

FOLDER = Path(__file__).parents[2] / "dashboard"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def dashboard_blueprint() -> Blueprint:
    """The routes of the dashboard's files."""
    blueprint = Blueprint(__name__)

    @blueprint.route("/dashboard", methods=["GET"], name="dashboard_index")
    def index() -> Response:
        request = blueprint.current_request
        if str(request.context.get("path", "")).endswith("/"):
            # The page's addresses are relative, so that it works under a stage prefix too.
            return Response(body="", status_code=301, headers={"Location": "../dashboard"})
        return static_file("index.html")

    @blueprint.route("/dashboard/{name}", methods=["GET"], name="dashboard_file")
    def named(name: str) -> Response:
        return static_file(name)

    return blueprint


def static_file(name: str) -> Response:
    """A file of the dashboard by its bare name; 404 for anything else."""
    files = _files()
    if name not in files:
        return error_response(NotFoundError(f"no such file: {name[:80]}"))
    kind, text = files[name]
    return Response(body=text, headers={**HEADERS, "Content-Type": kind})


@cache
def _files() -> dict[str, tuple[str, str]]:
    """(content type, text) by bare name: only what lies in the folder, or below, can be had."""
    return {
        path.name: (TYPES[path.suffix], path.read_text(encoding="utf-8"))
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in TYPES
    }
