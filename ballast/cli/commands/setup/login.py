"""`login`: remember the server and the key in a file that only you can read; `completion`."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from ballast.cli.remote.configuration import Configuration, configuration_path, write_configuration
from ballast.cli.remote.server import Server
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.asking import secret_of
from chalicelib.core.words import count


@click.command("login")
@connection_options
@pass_session
def login(session: Session) -> None:
    """Ask for the server and the key, try them, and store them (mode 0600).

    \b
    ballast login
    ballast login --url https://…        asks only for the key
    """
    url = session.url or os.environ.get("BALLAST_URL") or click.prompt("URL of the deployment")
    api_key = session.api_key or secret_of("BALLAST_API_KEY", "Key")
    server = Server(url, api_key)
    n_groups = len(server.get("/api/v0/endptjobs/")["results"])
    path = configuration_path()
    write_configuration(path, Configuration(url=server.url, api_key=api_key))
    session.show(
        {"url": server.url, "path": str(path)},
        f"Stored in {path}; {count(n_groups, 'endpoint')} there",
    )


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@connection_options
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of your shell: commands, options, names of your groups.

    \b
    ballast completion bash >> ~/.bashrc
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(context.find_root().command, {}, "ballast", "_BALLAST_COMPLETE").source()
    context.ensure_object(Session).show({"script": script}, script)


COMMANDS = (login, completion)
