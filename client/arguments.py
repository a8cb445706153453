"""Command-line arguments that clients and load tests share, in the vendor's spelling."""

from __future__ import annotations

import argparse
import os

from client.errors import NO_KEY


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
        "--worker-ca", help="PEM file to trust for workers (see python -m client.trust)"
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
    return arguments
