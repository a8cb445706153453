"""`freeze`, `unfreeze`, `panic`: the owner's brakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click

from ballast.cli.commands.account.adopt import confirm_mislabelled
from ballast.cli.errors import CliError, ExitCode
from ballast.cli.lookup import find_endpoint
from ballast.cli.parameters import SECONDS, STAGE, needed_stage
from ballast.cli.remote.by_label import panic_with_vast_key
from ballast.cli.remote.direct import clear_panic_directly, freeze_directly, panic_directly
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session, connection_options, pass_session
from ballast.cli.terminal.cost import confirm_cost
from ballast.cli.terminal.display import usd
from ballast.cli.terminal.waiting import listed_at, wait_until_empty
from chalicelib.core.words import count

CONFIRMATION = "destroy everything"
TABLES_ILL = "storage_unavailable"  # the API's word: no way around the server helps then
WITHOUT_TABLES = (
    "try again; while its tables do not answer nothing can be reserved there, so nothing is "
    "rented or started. To end the spending now: ballast panic --vast-key-only"
)
F = TypeVar("F", bound=Callable[..., object])


def _direct_options(function: F) -> F:
    """Add --direct and --stage to a brake."""
    direct = click.option(
        "--direct",
        is_flag=True,
        help="Without the deployment: with your own AWS credentials (and Vast key, for panic).",
    )
    return direct(STAGE(function))


@click.command("freeze")
@click.argument("name", required=False)
@_direct_options
@connection_options
@pass_session
def freeze(session: Session, name: str | None, direct: bool, stage: str | None) -> None:
    """Nothing is rented, started, stopped or destroyed; what runs serves on, and costs.

    \b
    ballast freeze
    ballast freeze TGI-Llama3
    ballast freeze --direct --stage prod     when the deployment itself does not answer
    """
    _set_frozen(session, name, needed_stage(stage) if direct else None, is_frozen=True)


@click.command("unfreeze")
@click.argument("name", required=False)
@_direct_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def unfreeze(
    session: Session, name: str | None, direct: bool, stage: str | None, yes: bool
) -> None:
    """Let Ballast act again; shows what it would do and cost, and asks.

    \b
    ballast unfreeze
    """
    direct_stage = needed_stage(stage) if direct else None
    what = (name or "the account") + _of(direct_stage)
    question = f"Unfreeze {what}? Ballast rents, starts, stops and destroys again, within the caps."
    if direct_stage is not None:
        session.confirm(question, is_sure=yes)
        _set_frozen(session, name, direct_stage, is_frozen=False)
        return
    preview: Json = {"unfreeze": True}
    if name is not None:
        preview["endpoint_id"] = find_endpoint(session.server, name)["id"]
    with _told_the_other_way():
        confirm_cost(session, [preview], question, is_sure=yes, always=False)
    _set_frozen(session, name, None, is_frozen=False)


@click.command("panic")
@_direct_options
@click.option(
    "--vast-key-only", is_flag=True, help="Without AWS too: by labels, each asked for by itself."
)
@click.option("--clear", is_flag=True, help="The danger is over: groups may scale again.")
@click.option("--wait/--no-wait", default=True, help="Wait until no instance is left.")
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default=900, show_default=True, help="Seconds to wait."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def panic(
    session: Session,
    direct: bool,
    stage: str | None,
    vast_key_only: bool,
    clear: bool,
    wait: bool,
    timeout_s: float,
    yes: bool,
) -> None:
    """Destroy every instance that is ours, stop renting, and verify with Vast.

    \b
    ballast panic
    ballast panic --direct --stage prod      when the deployment itself does not answer
    ballast panic --vast-key-only            when AWS does not answer either
    """
    if clear:
        direct_stage = needed_stage(stage) if direct else None
        question = f"End the panic{_of(direct_stage)}? Groups rent and scale again."
        session.confirm(question, is_sure=yes)
        if direct_stage is not None:
            session.show(*clear_panic_directly(direct_stage))
        else:
            answer = _brake(session, "panic", {"clear": True})
            session.show(answer, f"Panic{_of(answer.get('stage'))} is over")
        return
    if vast_key_only:
        session.show(*panic_with_vast_key(session, is_sure=yes))
        return
    where = f"of stage {needed_stage(stage)}" if direct else _what_there_is(session)
    question = f"Destroy ALL workers of ALL groups {where}? Requests will fail."
    session.confirm(question, is_sure=yes, is_named=True)
    if direct:
        session.show(*panic_directly(needed_stage(stage), session, is_sure=yes))
        return
    since = listed_at(session)  # an older list proves nothing
    answer = _brake(session, "panic", {"confirm": CONFIRMATION})
    whose = _of(answer.get("stage"))
    confirm_mislabelled(session, is_sure=yes)
    if wait:
        answer = wait_until_empty(session, None, timeout_s, since=since)
    end = f"No instance{whose} is left" if wait else f"Everything{whose} is being destroyed"
    session.show(answer, end)


def _what_there_is(session: Session, endpoint_id: int | None = None) -> str:
    """The deployment, and what is to go: '(prod, https://…: 5 workers at $2.21/h)'."""
    try:
        answer = session.server.get("/api/v0/status", endpoint_id=endpoint_id)
    except CliError:
        return f"({session.server.url}; its status does not answer)"
    groups = answer["groups"]
    n = sum(int(group["n_workers"]) for group in groups)
    hourly = sum(float(group["money"]["usd_per_hour"]) for group in groups)
    stage = answer.get("stage", "")
    return f"({stage}, {session.server.url}: {count(n, 'worker')} at {usd(hourly)}/h)"


def _brake(session: Session, what: str, body: Json) -> Json:
    """Ask for a brake; where no answer comes, the way without the server's door is told."""
    with _told_the_other_way():
        return session.server.post(f"/api/v0/{what}", body)


def _of(stage: str | None) -> str:
    """Whose: of the stage that was named, or that the server says it is."""
    return "" if stage is None else f" of stage {stage}"


@contextmanager
def _told_the_other_way() -> Iterator[None]:
    """Add to the server's refusal how to act without it."""
    try:
        yield
    except CliError as error:
        if error.kind == TABLES_ILL:
            error.fix = WITHOUT_TABLES
        elif error.code is ExitCode.UNREACHABLE:
            command = click.get_current_context().info_name
            error.fix = f"`ballast {command} --direct --stage …` acts with your AWS credentials"
        elif error.code is ExitCode.UNAUTHORISED:
            command = click.get_current_context().info_name
            other = f"`ballast {command} --direct --stage …` needs AWS credentials and no key"
            error.fix = f"{error.fix}; or {other}" if error.fix else other
        raise


def _set_frozen(
    session: Session, name: str | None, direct_stage: str | None, *, is_frozen: bool
) -> None:
    if direct_stage is not None:
        session.show(*freeze_directly(direct_stage, name, is_frozen=is_frozen))
        return
    body: Json = {"frozen": is_frozen}
    if name is not None:
        body["endpoint_id"] = find_endpoint(session.server, name)["id"]
    answer = _brake(session, "freeze", body)
    what = (name or "The account") + _of(answer.get("stage"))
    session.show(answer, f"{what} is frozen" if is_frozen else f"{what} may act again")


@click.command("destroy")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Stay until Vast lists no instance of it any more.")
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default=900, show_default=True, help="Seconds to wait."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@pass_session
def destroy(session: Session, name: str, wait: bool, timeout_s: float, yes: bool) -> None:
    """Delete an endpoint group: drain, destroy, and (with --wait) verify that nothing is left.

    \b
    ballast destroy TGI-Llama3 --wait
    """
    row = find_endpoint(session.server, name)
    there = _what_there_is(session, int(row["id"]))
    question = f"Destroy {row['endpoint_name']} and all its workers {there}?"
    session.confirm(question, is_sure=yes, is_named=True)
    answer = session.server.delete(f"/api/v0/endptjobs/{row['id']}/")
    if wait:
        answer = wait_until_empty(session, int(row["id"]), timeout_s)
    end = "0 instances are left, verified with Vast" if wait else "it is being destroyed"
    session.show(answer, f"{row['endpoint_name']}: {end}")


COMMANDS = (freeze, unfreeze, panic, destroy)
