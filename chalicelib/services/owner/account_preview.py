"""What would be done in all groups: under other caps of the account, or once nothing is frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chalicelib.core.model.draft import draft_of
from chalicelib.core.money.budget import MICRO
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.brakes import CAPS, checked_caps
from chalicelib.services.owner.caution import account_risks, must_ask
from chalicelib.services.owner.groups import visible_group
from chalicelib.services.owner.preview import (
    PREVIEW_EVERY_S,
    Row,
    as_list,
    as_number,
    as_rows,
    as_whole,
    problems_of,
    take_turn,
    told,
)

STILL_FROZEN = "the account is frozen too: nothing is done before it is unfrozen"


def preview_account(ports: ApiPorts, caps: Mapping[str, object]) -> Row:
    """What the next round would do, in all groups, under other caps of the account.

    Raises:
        ParameterError: a cap is no usable number, or none is given.
        PortError: the scaler cannot be reached, or Vast does not answer.
    """
    changes = checked_caps(caps)
    account = ports.ledger.account()
    before = {name: getattr(account, field) / MICRO for name, (field, _) in CAPS.items()}
    said = account_risks(before, caps)
    return _of_all(ports, {"caps": changes}, said)


def preview_unfreezing(ports: ApiPorts, caller: Caller, endpoint_id: int | None) -> Row:
    """What the next round would do once a group, or (None) the account, is frozen no more.

    Raises:
        NotFoundError: the group is not within the key's scope, or the key is no account's.
        RateLimitedError: another preview was asked under a bound key a moment ago.
        PortError: the scaler cannot be reached, or Vast does not answer.
    """
    if endpoint_id is None:
        if caller.endpoint_id is not None:
            raise NotFoundError("the account can be unfrozen by a key of the account only")
        return _of_all(ports, {"is_unfrozen": True}, [])
    group = replace(visible_group(ports, caller, endpoint_id), frozen=False)
    take_turn(ports, caller, f"preview#{endpoint_id}", PREVIEW_EVERY_S)
    draft = draft_of(group, ports.groups.list_autogroups(endpoint_id))
    question = {"ask": "plan", "endpoint_id": endpoint_id, "draft": draft}
    plan = told(ports, endpoint_id, ports.poke.ask(question))
    answer: Row = {"offers": None, "risks": [], "plan": plan}
    still = [STILL_FROZEN] if ports.ledger.account().is_frozen else []
    answer["warnings"] = [*still, *problems_of(answer)]
    return {**answer, "must_ask": must_ask(answer)}


def _of_all(ports: ApiPorts, asked: Row, risks: Sequence[str]) -> Row:
    found = as_rows(ports.poke.ask({"ask": "plan", **asked}).get("plans"))
    plans = [told(ports, as_whole(row.get("endpoint_id")), row) for row in found]
    answer: Row = {"offers": None, "risks": risks, "plan": _merged(plans)}
    answer["warnings"] = problems_of(answer)
    return {**answer, "must_ask": must_ask(answer)}


def _merged(plans: Sequence[Row]) -> Row:
    """The plans of all groups as one; of the caps those of the account alone."""
    listed = ("actions", "refused", "notes", "problems")
    summed = ("usd_per_hour_now", "usd_per_hour_after", "once_usd", "worst_first_hour_usd")
    caps = as_rows(plans[0].get("caps")) if plans else []
    return {
        **{name: [one for plan in plans for one in as_list(plan.get(name))] for name in listed},
        **{name: sum(as_number(plan.get(name)) for plan in plans) for name in summed},
        "caps": [one for one in caps if not str(one.get("cap")).startswith("group_")],
        "is_frozen": any(plan.get("is_frozen") for plan in plans),
    }
