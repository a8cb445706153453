"""What the command lines of clients and load tests share, in the vendor's spelling."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from ballast.client.errors import NO_KEY, CallError
from ballast.client.sdk import Answer, Client
from ballast.client.sse import event_data
from ballast.client.transport import check_authority


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add -k, -e, -u and the worker's certificate authority."""
    parser.add_argument(
        "-k", "--api-key", default=os.environ.get("BALLAST_API_KEY"), help="or BALLAST_API_KEY"
    )
    parser.add_argument("-e", "--endpoint", required=True, help="endpoint group's name")
    parser.add_argument(
        "-u", "--url", default=os.environ.get("BALLAST_URL"), help="control plane; or BALLAST_URL"
    )
    parser.add_argument(
        "--worker-ca", help="PEM file to trust for workers (see python -m ballast.client.trust)"
    )


def parse(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> argparse.Namespace:
    """Parse, and insist on a key and an address."""
    arguments = parser.parse_args(argv)
    if not arguments.api_key:
        parser.error("no key: give -k KEY or set BALLAST_API_KEY")
    if not arguments.api_key.isascii():
        parser.error(NO_KEY)
    if not arguments.url:
        parser.error("no control plane: give -u URL or set BALLAST_URL")
    try:
        check_authority(arguments.worker_ca)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def ask(arguments: argparse.Namespace, questions: Callable[[Client], None]) -> int:
    """Ask with the client that the arguments describe; 1 when a call failed, after saying why."""
    with Client(arguments.api_key, arguments.url, worker_ca=arguments.worker_ca) as client:
        try:
            questions(client)
        except CallError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    return 0


def print_stream(answer: Answer, text_of: Callable[[str], str]) -> None:
    """Print the text of each event as it comes."""
    for data in event_data(answer.chunks()):
        print(text_of(data), end="", flush=True)
    print()
