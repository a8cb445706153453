"""`python -m ballast.proxy --endpoint NAME -k KEY -u URL`: serve until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ballast.proxy.guard import Guard
from ballast.proxy.server import ProxySettings, make_application

SHUTDOWN_GRACE_S = 5.0
"""For answers under way at Ctrl-C."""


def main(argv: list[str] | None = None) -> int:
    """Serve; 2 without a control plane."""
    parser = argparse.ArgumentParser(prog="python -m ballast.proxy", description=__doc__)
    parser.add_argument("-e", "--endpoint", default="", help="default endpoint group")
    parser.add_argument(
        "-k",
        "--api-key",
        default=os.environ.get("BALLAST_API_KEY", ""),
        help="key for all callers; without it each caller sends a key of its own",
    )
    parser.add_argument("-u", "--url", default=os.environ.get("BALLAST_URL"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds per request")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name it is reached by"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page that may use it, such as https://chat.example",
    )
    arguments = parser.parse_args(argv)
    if not arguments.url:
        parser.error("no control plane: give -u URL or set BALLAST_URL")
    logging.getLogger("aiohttp.server").addFilter(_is_readable)
    settings = ProxySettings(
        url=arguments.url,
        endpoint=arguments.endpoint,
        api_key=arguments.api_key,
        guard=Guard(
            hosts=frozenset(name.lower() for name in arguments.allow_host),
            origins=frozenset(url.rstrip("/") for url in arguments.allow_origin),
        ),
        timeout_s=arguments.timeout,
    )
    web.run_app(
        make_application(settings),
        host=arguments.host,
        port=arguments.port,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_GRACE_S,
    )
    return 0


def _is_readable(record: logging.LogRecord) -> bool:
    """False for bytes that are no HTTP: aiohttp would quote them, a prompt or a key perhaps."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


if __name__ == "__main__":
    sys.exit(main())
