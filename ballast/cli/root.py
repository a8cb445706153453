"""The command tree: `ballast VERB …` and `ballast create|show|update|delete NOUN …`."""

from __future__ import annotations

from collections.abc import Mapping

import click
from click.shell_completion import CompletionItem

from ballast.cli.commands.account import account, adopt, brakes, key
from ballast.cli.commands.groups import apply, autogroup, endpoint, history, rollout, up
from ballast.cli.commands.setup import doctor, login, notify, probe, secret, template
from ballast.cli.commands.trials import call, chaos, simulate
from ballast.cli.commands.watch import logs, plan, spend, status, workers
from ballast.cli.errors import CliError
from ballast.cli.lookup import list_autogroups, list_endpoints
from ballast.cli.remote.session import Session, connection_options

NOUNS: Mapping[str, Mapping[str, click.Command]] = {
    "endpoint": endpoint.COMMANDS,
    "autogroup": autogroup.COMMANDS,
    "key": key.COMMANDS,
    "account": account.COMMANDS,
}
OTHER_WORDS = {"endpoints": "endpoint", "autogroups": "autogroup", "keys": "key"} | {
    "workergroup": "autogroup",  # the vendor's newer word
    "workergroups": "autogroup",
}
VERBS = {
    "create": "Create an endpoint group, autogroup or key.\n\n\b\nballast create key --name shop",
    "show": "Show endpoint groups, autogroups, keys or the account.\n\n\b\nballast show endpoints",
    "update": "Change an endpoint group, autogroup, its workers, a key or the account.\n\n\b\n"
    "ballast update endpoint TGI-Llama3 --min_load 200",
    "delete": "Delete an endpoint group, autogroup or key.\n\n\b\nballast delete autogroup 101",
}


class NounGroup(click.Group):
    """A verb's nouns, also by plural and by the vendor's words, which help does not repeat."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a noun."""
        return super().get_command(ctx, OTHER_WORDS.get(cmd_name, cmd_name))


def _dashes(text: str) -> str:
    return text.replace("_", "-")


@click.group(
    context_settings={
        "token_normalize_func": _dashes,  # --endpoint_name and --endpoint-name are the same
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    }
)
@click.version_option(package_name="ballast", prog_name="ballast")
@connection_options
@click.pass_context
def root(context: click.Context) -> None:
    """Run GPU workers on Vast.ai behind one address, on time and at the lowest price.

    \b
    First:       ballast login, then ballast doctor, then ballast up ORG/MODEL
    At 03:00:    ballast status · ballast freeze · ballast panic
    Exit codes:  0 done · 1 refused by the server · 2 usage · 3 server not reachable
                 4 not authorised · 5 a check failed · 6 not confirmed · 130 interrupted
    """
    context.ensure_object(Session)


for verb, text in VERBS.items():
    group = NounGroup(verb, help=text)
    for commands in NOUNS.values():
        if verb in commands:
            group.add_command(commands[verb])
    root.add_command(group)
update = root.commands["update"]
if isinstance(update, click.Group):
    update.add_command(autogroup.update_workers)
for module in (
    status, workers, logs, plan, spend, rollout, brakes, adopt, apply, simulate, doctor,
):  # fmt: skip
    for command in module.COMMANDS:
        root.add_command(command)
for module in (call, chaos, template, secret, notify, login, probe, up, history):
    for command in module.COMMANDS:
        root.add_command(command)


class GroupName(click.ParamType[str]):
    """An endpoint group's name or an autogroup's id, which the shell completes."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names and ids of the deployment that is signed in to; none where it is silent."""
        try:
            server = Session().server
            names = [str(row["endpoint_name"]) for row in list_endpoints(server)]
            ids = [
                CompletionItem(str(row["id"]), help=f"autogroup of {row.get('endpoint_name')}")
                for row in list_autogroups(server)
            ]
        except CliError:
            return []
        found = [*(CompletionItem(name) for name in names), *ids]
        return [one for one in found if str(one.value).startswith(incomplete)]


def _complete_names(command: click.Command) -> None:
    for child in command.commands.values() if isinstance(command, click.Group) else ():
        _complete_names(child)
    for one in command.params:
        # A type of its own checks its values, which completion must not take away.
        is_text = isinstance(one, click.Argument) and one.type is click.STRING
        if is_text and one.name == "name" and command.name != "remove":  # of a notifier
            one.type = GroupName()


_complete_names(root)
