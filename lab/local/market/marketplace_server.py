"""A pretend Vast.ai on this machine: `python -m lab.local.market.marketplace_server --port 8091`.

Speaks Vast's API (for our adapter and the vendor's CLI), runs every rented instance's `onstart` as
a real process, and has a control API under `/_market/`. Listens on loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from fakes.market.market_refusal import MarketRefusal
from lab.local.market.market_file import DEFAULT_MARKET_FILE, MarketFileError
from lab.local.market.marketplace_api import PUBLIC_HANDLERS, URL_MAP, MarketplaceApi
from lab.local.market.marketplace_control import CONTROL_URL_MAP, MarketplaceControl
from lab.local.market.marketplace_messages import json_response, refusal_response
from lab.local.market.marketplace_world import MarketSettings, MarketWorld, open_world

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOOPBACK = "127.0.0.1"
LOCAL_HOSTS = frozenset({LOOPBACK, "localhost"})
SHUTDOWN_POLL_S = 0.05


class MarketplaceApp:
    """The WSGI application."""

    def __init__(self, world: MarketWorld, api_key: str = "") -> None:
        """`api_key`: the only key that is let in; empty: every one."""
        self._api = MarketplaceApi(world)
        self._control = MarketplaceControl(world)
        self._api_key = api_key

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except MarketRefusal as refused:
            response = refusal_response(refused)
        except HTTPException as error:
            body = {"success": False, "error": "http_error", "msg": str(error)}
            response = json_response(body, error.code or 500)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        _check_local(request)
        path = "/" + "/".join(part for part in request.path.split("/") if part)
        is_control = path.startswith("/_market")
        urls: MapAdapter = (CONTROL_URL_MAP if is_control else URL_MAP).bind("")
        name, arguments = urls.match(path, method=request.method)
        if not is_control and name not in PUBLIC_HANDLERS:
            self._check_key(request)
        handler = getattr(self._control if is_control else self._api, name)
        return json_response(handler(request, **arguments))

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        key = given or request.args.get("api_key", "")
        if not key:
            raise MarketRefusal.stating(401, "auth_error", "Invalid user key")
        if self._api_key and key != self._api_key:
            raise MarketRefusal.stating(404, "auth_error", "Invalid user key")  # not 401: recorded


def _check_local(request: Request) -> None:
    """Refuse what a web page in the owner's browser could send: this server runs commands."""
    origin = request.headers.get("Origin")
    hosts = [request.host, *([urlsplit(origin).netloc] if origin is not None else [])]
    if any(host.partition(":")[0] not in LOCAL_HOSTS for host in hosts):
        raise MarketRefusal.stating(403, "forbidden", "only programs on this machine may call")


class _QuietHandler(WSGIRequestHandler):
    """Keeps connections open and the terminal clean; URLs may carry keys."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class RunningMarketplace:
    """A server that answers at `url`."""

    url: str
    world: MarketWorld


@contextmanager
def serve_marketplace(
    settings: MarketSettings | None = None,
    *,
    port: int = 0,
    fd: int | None = None,
    api_key: str = "",
) -> Iterator[RunningMarketplace]:
    """A ticking market, served until the end of the block in threads of this process.

    Raises:
        MarketFileError: the market file cannot be used.
        ValueError: `fd` is a socket that does not listen on loopback.
    """
    with (
        open_world(settings or MarketSettings()) as world,
        serve_world(world, port=port, fd=fd, api_key=api_key) as url,
    ):
        yield RunningMarketplace(url, world)


@contextmanager
def serve_world(
    world: MarketWorld, *, port: int = 0, fd: int | None = None, api_key: str = ""
) -> Iterator[str]:
    """A market over HTTP; gives the URL.

    Raises:
        ValueError: `fd` is a socket that does not listen on loopback.
    """
    app = MarketplaceApp(world, api_key)
    server = make_server(LOOPBACK, port, app, threaded=True, request_handler=_QuietHandler, fd=fd)
    host, bound_port = _loopback_address(server)
    thread = threading.Thread(
        target=server.serve_forever, args=(SHUTDOWN_POLL_S,), name="market-http", daemon=True
    )
    thread.start()
    url = f"http://{host}:{bound_port}"
    world.driver.market_url = url
    try:
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _loopback_address(server: BaseWSGIServer) -> tuple[str, int]:
    host, port = server.socket.getsockname()[:2]
    if host != LOOPBACK:
        server.server_close()
        raise ValueError(f"{host} is not {LOOPBACK}; this server is for one machine only")
    return host, port


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the first line printed is one JSON object."""
    options = _parse(arguments)
    is_over = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: is_over.set())
    settings = MarketSettings(
        market_file=options.market,
        time_scale=options.time_scale,
        seed=options.seed,
        state_dir=options.state,
        enforces_limits=options.limits,
    )
    try:
        with serve_marketplace(
            settings, port=options.port, fd=options.fd, api_key=options.api_key
        ) as running:
            print(json.dumps({"market_url": running.url, "pid": os.getpid()}), flush=True)
            is_over.wait()
    except (MarketFileError, ValueError, OSError) as error:
        print(f"marketplace: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.local.market.marketplace_server")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--fd", type=int, help="an inherited socket that listens on loopback")
    parser.add_argument(
        "--market", type=Path, default=DEFAULT_MARKET_FILE, help="market file (TOML)"
    )
    parser.add_argument(
        "--time-scale", type=float, default=1.0, help="market delays and bills only"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="where disks and logs are kept")
    parser.add_argument("--limits", action="store_true", help="answer hasty calls with 429")
    parser.add_argument("--api-key", default="", help="let only this key in")
    parser.add_argument("--json", action="store_true", help="accepted; the output is always JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
