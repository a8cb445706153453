"""How the command fails: exit codes that mean something, and errors that name the fix."""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any

import click


class ExitCode(IntEnum):
    """What scripts may rely on; documented in docs/operating.md."""

    OK = 0
    REFUSED = 1  # the server said no
    USAGE = 2  # the command line is wrong (click's own code)
    UNREACHABLE = 3  # no answer, or a 5xx
    UNAUTHORISED = 4  # no key, a bad key, or a key without the verb
    CHECK_FAILED = 5  # doctor found something, or a wait ended without what was waited for
    NOT_CONFIRMED = 6  # a question was answered with no
    INTERRUPTED = 130  # Ctrl-C


class CliError(click.ClickException):
    """An expected failure: what went wrong, and what to do about it.

    `kind`: the server's own word for it (`error` of its answer), where it gave one.
    """

    def __init__(
        self, message: str, *, code: ExitCode = ExitCode.REFUSED, fix: str = "", kind: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.fix = fix
        self.kind = kind

    def show(self, file: IO[Any] | None = None) -> None:
        """Print to standard error."""
        click.echo(f"ballast: {_harmless(self.message)}", err=True, file=file)
        if self.fix:
            click.echo(f"  fix: {_harmless(self.fix)}", err=True, file=file)


def _harmless(text: str) -> str:
    """A message may quote a server, which may quote a worker: nothing in it steers the terminal."""
    replaced = (c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return "".join(replaced)
