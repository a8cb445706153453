"""Asking for a secret at the terminal."""

from __future__ import annotations

import os
import sys

import click

from ballast.cli.errors import CliError, ExitCode


def secret_of(variable: str, words: str) -> str:
    """An environment variable, or what is typed without being shown.

    Raises:
        CliError: it is not set, and there is nobody to ask.
    """
    if value := os.environ.get(variable):
        return value
    if not sys.stdin.isatty():
        raise CliError(
            f"{variable} is not set, and there is no terminal to ask at",
            code=ExitCode.USAGE,
            fix=f"export {variable}=…; others could see it on the command line",
        )
    return str(click.prompt(f"{words} (not shown)", hide_input=True))
