"""`python -m ballast.proxy --endpoint NAME -k KEY -u URL`: serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from aiohttp.http_exceptions import HttpProcessingError

from ballast.proxy.callers import CallersError
from ballast.proxy.guard import Guard
from ballast.proxy.server import ProxySettings, make_application
from ballast.proxy.service import CallersFile, Service, serve

DRAIN_S, GRACE_S = 5.0, 60.0


def make_parser() -> argparse.ArgumentParser:
    """The options; what a container needs may come from its environment."""
    parser = argparse.ArgumentParser(prog="python -m ballast.proxy", description=__doc__)
    add, env = parser.add_argument, os.environ
    add("-e", "--endpoint", default=env.get("BALLAST_ENDPOINT", ""), help="default endpoint group")
    add(
        "-k",
        "--api-key",
        default=env.get("BALLAST_API_KEY", ""),
        help="key for all callers; without it each caller sends a key of its own",
    )
    add(
        "--callers",
        type=Path,
        default=env.get("BALLAST_PROXY_CALLERS") or None,
        metavar="FILE",
        help="TOML file of callers with keys and limits of their own; read again when it changes",
    )
    add("-u", "--url", default=env.get("BALLAST_URL"))
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8090)
    add("--timeout", type=float, default=600.0, help="seconds per request")
    add(
        "--drain",
        type=float,
        default=DRAIN_S,
        help="seconds from SIGTERM, /ready says no, requests are taken (%(default)g)",
    )
    add(
        "--grace",
        type=float,
        default=GRACE_S,
        help="seconds that answers under way have after that (%(default)g)",
    )
    add("--allow-host", action="append", default=[], metavar="NAME", help="a name it is reached by")
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page that may use it, such as https://chat.example",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve; 2 without a control plane, or with a file of callers that cannot be used."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if not arguments.url:
        parser.error("no control plane: give -u URL or set BALLAST_URL")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.server").addFilter(_is_readable)
    try:
        callers = CallersFile(arguments.callers) if arguments.callers else None
    except CallersError as error:
        parser.error(str(error))
    settings = ProxySettings(
        url=arguments.url,
        endpoint=arguments.endpoint,
        api_key=arguments.api_key,
        guard=Guard(
            hosts=frozenset(name.lower() for name in arguments.allow_host),
            origins=frozenset(url.rstrip("/") for url in arguments.allow_origin),
        ),
        timeout_s=arguments.timeout,
        callers=callers,
    )
    service = Service(arguments.url)
    asyncio.run(
        serve(
            make_application(settings, service),
            service,
            (arguments.host, arguments.port),
            arguments.drain,
            arguments.grace,
        )
    )
    return 0


def _is_readable(record: logging.LogRecord) -> bool:
    """False for bytes that are no HTTP: aiohttp would quote them, a prompt or a key perhaps."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


if __name__ == "__main__":
    sys.exit(main())
