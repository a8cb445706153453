"""Before it costs: what a change would rent, what that costs, what the caps leave; then a question.

The server plans the change with the scaler's own code (`/api/v0/preview`); nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.display import cell, clean, number, table, usd
from chalicelib.core.model.worker import update_warnings
from chalicelib.core.words import count

ACTION_WORDS: Mapping[str, str] = {"recall": "keep", "bid": "bid more for"}


def confirm_cost(
    session: Session, previews: Sequence[Json], question: str, *, is_sure: bool, always: bool = True
) -> Sequence[Json]:
    """Show what changes would do and cost, and ask; gives the server's answers.

    `previews`: bodies of `/api/v0/preview`. Unless `always`, it is asked where the server says so.

    Raises:
        CliError: it is not confirmed, or the server refuses the change itself.
    """
    answers = show_cost(session, previews)
    # An answer that does not say so is no no: the deployment is older, or does not answer.
    if always or any(answer.get("must_ask", True) for answer in answers):
        said = dict.fromkeys(str(one) for answer in answers for one in answer.get("risks", ()))
        session.confirm("; ".join([*said, question]), is_sure=is_sure)
    return answers


def show_cost(session: Session, previews: Sequence[Json]) -> Sequence[Json]:
    """Show what changes would do and cost; gives the server's answers.

    Raises:
        CliError: the server refuses the change itself.
    """
    answers = [_ask_server(session, body) for body in previews]
    if not session.wants_json:
        for answer in answers:
            session.notes.print(*cost_lines(answer), sep="\n")
    return answers


def why_nothing_comes(answer: Json) -> str:
    """Why a preview rents nothing now; empty where it rents, or nobody knows."""
    plan = answer.get("plan")
    if not plan or any(one["action"] == "rent" for one in plan.get("actions", ())):
        return ""
    found = [
        f"{one.get('cap_name', one['cap'])} leaves less than the "
        f"{usd(one.get('worst_usd_per_hour'), 3)} an hour that {what(one)} needs"
        for one in plan.get("refused", ())
    ]
    found += [str(one) for one in plan.get("problems", ())]
    found += [str(note["sentence"]) for note in plan.get("notes", ())]
    return clean("; ".join(one.rstrip(".") for one in found) or "no machine is wanted")


def cost_lines(answer: Json) -> list[RenderableType]:
    """What a preview says, for a person."""
    if "unknown" in answer:
        text = f"What it would cost cannot be told now: {clean(answer['unknown'])}"
        return [Text(text, style="yellow")]
    lines: list[RenderableType] = []
    plan = answer.get("plan")
    if plan:
        lines += plan_lines(plan)
    elif "no_plan" in answer:
        lines.append(Text(clean(answer["no_plan"])))
    lines += _offers(answer)
    if plan:
        lines += caps_left(plan)
    lines += [Text(f"! {clean(one)}", style="yellow") for one in answer.get("warnings", ())]
    return lines


def plan_lines(plan: Json) -> Iterator[RenderableType]:
    """The next round's deeds with their prices, what caps refuse, and the first hour."""
    actions = plan.get("actions", ())
    if not actions:
        yield Text("Nothing would be rented, started or stopped in the next round.")
    else:
        rows = [
            (
                ACTION_WORDS.get(one["action"], one["action"]),
                what(one),
                usd((one.get("offer") or {}).get("usd_per_hour"), 3),
                usd(one.get("once_usd"), 2),
                cell(one.get("sentence")),
            )
            for one in actions
        ]
        columns = ("action", "what", ">$/h", ">download", "?why")
        yield table("The next round would", columns, rows)
    for one in plan.get("refused", ()):
        cap = one.get("cap_name", one["cap"])
        wanted = usd(one.get("worst_usd_per_hour"), 3)
        yield Text(
            f"refused: {one['action']} {what(one)}: needs {wanted}/h more than {clean(cap)} leaves",
            style="yellow",
        )
    for note in plan.get("notes", ()):
        yield Text(clean(note["sentence"]), style="yellow")
    first_hour = plan.get("worst_first_hour_usd")
    if first_hour is not None and actions:
        n_rented = sum(one["action"] == "rent" for one in actions)
        yield Text(
            f"{usd(plan['usd_per_hour_now'], 3)}/h now, {usd(plan['usd_per_hour_after'], 3)}/h "
            f"after; first hour at most {usd(first_hour)}"
            + (
                f", {usd(plan.get('once_usd'))} of it to download to {count(n_rented, 'machine')}"
                if n_rented and plan.get("once_usd")
                else ""
            ),
            style="bold",
        )


def caps_left(plan: Json) -> Iterator[RenderableType]:
    """What every cap still leaves, in one line."""
    parts = [
        f"{usd(cap['usd'] - cap['used_usd'])} of {usd(cap['usd'])} "
        f"({clean(cap.get('cap_name', cap['cap']))})"
        for cap in plan.get("caps", ())
    ]
    if parts:
        yield Text("Caps leave: " + " · ".join(parts))


def what(action: Json) -> str:
    """What an action is about: an offer, or an instance."""
    offer = action.get("offer")
    if offer:
        machine = f"{clean(offer.get('gpu_type'))}, machine {offer.get('machine_id')}"
        if not offer.get("is_bid"):
            return machine
        on_demand = offer.get("on_demand_usd_per_hour")
        instead = f" ({usd(on_demand, 3)} on demand)" if on_demand else ""
        return f"{machine}, bid {usd(offer.get('bid_usd_per_hour'), 3)}{instead}"
    return f"instance {action.get('instance_id')}"


def _offers(answer: Json) -> Iterator[RenderableType]:
    offers = answer.get("offers")
    if not offers or not offers.get("n"):
        return
    low, high = answer["usd_per_hour_idle"]
    yield Text(
        f"{count(offers['n'], 'offer')} now, {usd(offers['cheapest_usd_per_hour'], 3)} to "
        f"{usd(offers['dearest_usd_per_hour'], 3)} an hour each. Once tested and idle: "
        f"{usd(low, 3)} to {usd(high, 3)} an hour; never more than "
        f"{usd(answer['usd_per_hour_max'])} an hour."
        + (" None of them is rented now." if why_nothing_comes(answer) else "")
    )
    bids = answer.get("bids")
    if bids and bids.get("n"):
        yield Text(
            f"Interruptible: {count(bids['n'], 'offer')}, least bids with disk "
            f"{usd(bids['cheapest_usd_per_hour'], 3)} to {usd(bids['dearest_usd_per_hour'], 3)} "
            "an hour."
        )


def _ask_server(session: Session, body: Json) -> Json:
    try:
        with session.notes.status("asking what it would cost …"):
            return session.server.post("/api/v0/preview", body)
    except CliError as error:
        if error.code is ExitCode.UNREACHABLE:  # Vast or the scaler: the change itself may be fine
            return {"unknown": error.message}
        raise


def update_lines(
    n_workers: int, n_outdated: int, states: Sequence[str], max_workers: int | None
) -> list[str]:
    """What a rolling update announces: how many, and whether a substitute can come first.

    `states`: of all workers of the group.
    """
    n = n_outdated or n_workers
    lines = [f"{count(n, 'worker')} of {number(n_workers)} would be replaced, one after another"]
    lines += update_warnings(states, max_workers)
    return lines
