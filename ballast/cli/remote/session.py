"""What every command gets: the server, and whether to print for a person or for a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

import click
from rich.console import Console, RenderableType

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.configuration import LOGIN_FIX, configuration_path, read_configuration
from ballast.cli.remote.server import Server
from ballast.cli.terminal.display import PlainConsole, clean, json_text

PIPE_WIDTH = 250

F = TypeVar("F", bound=Callable[..., object])


class Session:
    """One run of the command. The server is found at first use, so `--help` needs none."""

    def __init__(self) -> None:
        self.url = ""
        self.api_key = ""
        self.wants_json = False
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        """The deployment to talk to.

        Raises:
            CliError: nobody said where it is, or with which key.
        """
        if self._server is None:
            self._server = self._connect()
        return self._server

    @property
    def console(self) -> Console:
        """Standard output for people; without markup, since names may hold brackets."""
        return _console(is_for_errors=False)

    @property
    def notes(self) -> Console:
        """Standard error, for progress and warnings."""
        return _console(is_for_errors=True)

    def teller(self) -> Callable[[str], None]:
        """Gives what prints a progress message, once for as long as it stays the same."""
        told = [""]

        def tell(text: str) -> None:
            if text != told[0]:
                told[0] = text
                self.notes.print(f"ballast: {clean(text)}")

        return tell

    def show(self, data: object, *parts: RenderableType) -> None:
        """Print `data` as JSON if asked for, the parts otherwise."""
        if self.wants_json:
            click.echo(json_text(data))
        else:
            self.console.print(*parts, sep="\n")

    def confirm(self, question: str, *, is_sure: bool, is_named: bool = False) -> None:
        """Ask, unless told to be sure. Where a server would act, its stage is part of the question.

        `is_named`: the question says it already.

        Raises:
            CliError: answered with no, or nobody is there to answer.
        """
        if is_sure:
            return
        if self._server is not None and not is_named:
            question = f"{self._deployment(self._server)}: {question}"
        if not sys.stdin.isatty():
            raise CliError(
                f"{question} Nobody is there to answer.",
                code=ExitCode.NOT_CONFIRMED,
                fix="add --yes if you are sure",
            )
        if not click.confirm(question, default=False, err=True):
            raise CliError("nothing was done", code=ExitCode.NOT_CONFIRMED)

    def _deployment(self, server: Server) -> str:
        """Its stage, or where it is, if it does not say."""
        try:
            return str(server.get("/api/v0/status", endpoint_id=0)["stage"])
        except (CliError, KeyError):
            return server.url

    def _connect(self) -> Server:
        stored = read_configuration(configuration_path())
        url = self.url or os.environ.get("BALLAST_URL", "") or stored.url
        api_key = self.api_key or os.environ.get("BALLAST_API_KEY", "") or stored.api_key
        if not url:
            raise CliError("no server is known", code=ExitCode.USAGE, fix=LOGIN_FIX)
        if not api_key:
            raise CliError("no key is known", code=ExitCode.UNAUTHORISED, fix=LOGIN_FIX)
        return Server(url, api_key)


def _console(*, is_for_errors: bool) -> Console:
    console = PlainConsole(stderr=is_for_errors, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH  # whoever greps wants whole lines
    return console


pass_session = click.make_pass_decorator(Session, ensure=True)


def connection_options(function: F) -> F:
    """Add --url, --api-key and --json to a command."""
    for option in (
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=_remember_json,
            help="Print JSON for programs.",
        ),
        click.option(
            "--api-key",
            expose_value=False,
            callback=_remember_key,
            help="Key; better BALLAST_API_KEY or `ballast login`: others see your command line.",
        ),
        click.option(
            "--url", expose_value=False, callback=_remember_url, help="Server; or BALLAST_URL."
        ),
    ):
        function = option(function)
    return function


def _remember_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).wants_json = True


def _remember_url(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Session).url = value


def _remember_key(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Session).api_key = value
        click.echo(
            "ballast: warning: every user of this machine can see a key on the command line; "
            "prefer BALLAST_API_KEY or `ballast login`",
            err=True,
        )
