"""Management's questions that only the scaler can answer: it alone holds the Vast key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.draft import parse_draft
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.market import Offer, plausible_record
from chalicelib.core.money.account import with_caps
from chalicelib.core.money.budget import MICRO, limits_of
from chalicelib.core.scaling.actions import Action, RentOffer
from chalicelib.core.scaling.facts import group_caps
from chalicelib.core.scaling.reasons import Reason, ReasonCode, autogroup_name
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.errors import NotFoundError, PortError
from chalicelib.ports.marketplace import RefusedError, Template
from chalicelib.services.market.key_rights import try_rights
from chalicelib.services.market.launching import (
    DEFAULT_DISK_GB,
    LaunchError,
    launch_facts,
    offer_query,
)
from chalicelib.services.market.paced_market import AskedMarket, PacedMarket
from chalicelib.services.market.search_hints import what_stands_in_the_way
from chalicelib.services.market.vast_rows import instance_row, offer_row, template_row
from chalicelib.services.rounds.foresight import ask_for, refused_by_caps
from chalicelib.services.rounds.journal.round_log import action_name, reason_facts
from chalicelib.services.rounds.round import plan_round
from chalicelib.services.rounds.values import Asked, GroupPlan, RoundPlan
from chalicelib.wire.launch_args import LaunchArgsError
from chalicelib.wire.search_query import parse_search_query
from chalicelib.wire.vast import MB_PER_GB

Question = Mapping[str, object]
Answer = dict[str, object]

QUESTION_WAITS_S = 15.0  # API Gateway waits 29 s for the whole answer
_UNSEEN = (ReasonCode.NO_OFFERS, ReasonCode.NOT_SEARCHED)
ASKS_S = 8.0  # no further call of a question of many begins later: one may take 25 s
MAX_OFFERS = 200
_VARIABLE_NAME = re.compile(r"-e\s+['\"]?([A-Za-z_][A-Za-z0-9_]*)=")


def answer(ports: ScalerPorts, question: Question) -> Answer:
    """Answer one question; changes nothing.

    Raises:
        MarketplaceError: Vast could not answer.
        NotFoundError: the thing asked about does not exist.
        PortError: no such question, or it lacks something.
    """
    now = ports.clock.now()
    market = AskedMarket(
        ports.marketplace,
        ports.clock,
        ports.ledger,
        scale=ports.pacing_scale,
        waits_until=now + QUESTION_WAITS_S,
    )
    kind = str(question.get("ask", ""))
    ask = _QUESTIONS.get(kind)
    if ask is None:
        raise PortError(f"ask: {kind!r} is no question; known: {', '.join(sorted(_QUESTIONS))}")
    return ask(ports, market, question)


def _plan(ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    """The very plan that the next round would carry out, of one group or of all.

    `draft`: a group and autogroups as they would be (`core/model/draft.py`); `caps`: the account's
    as they would be, in micro-dollars by field. `is_unfrozen`: as if the account were not frozen.
    """
    now = ports.clock.now()
    wanted = question.get("endpoint_id")
    group, autogroups = parse_draft(question.get("draft"))
    asked = Asked(
        endpoint_id=wanted if isinstance(wanted, int) else None, group=group, autogroups=autogroups
    )
    account = with_caps(ports.ledger.account(), _caps_asked(question))
    if question.get("is_unfrozen") is True:
        account = replace(account, is_frozen=False)
    plan = plan_round(ports, market, account, now, asked=asked)
    if plan.account.is_panicking:
        rows = [_panic_row(plan, one) for one in plan.view.groups]
    else:
        refused = refused_by_caps(plan)
        rows = [_plan_row(plan, one, refused) for one in plan.groups]
    if wanted is None:
        return {"plans": rows}
    found = next((row for row in rows if row["endpoint_id"] == wanted), None)
    if found is None:
        raise NotFoundError(f"endpoint_id: there is no endpoint group {wanted!r}")
    search = question.get("offers_for")
    if not isinstance(search, Mapping):
        return found
    drafted = [one for one in autogroups if one.autogroup_id == search.get("planned_as")]
    _note_unlaunchable(market, found, drafted)
    # Another autogroup's trouble hides no prices of this one.
    if search.get("planned_as") not in _list_of(found, "unlaunchable"):
        found["found"] = _offers(ports, market, search)
    return found


def _note_unlaunchable(market: PacedMarket, row: Answer, autogroups: Sequence[Autogroup]) -> None:
    """Add to a plan which autogroups nothing could be launched of, whether or not it rents now.

    A round learns it when it searches: not while frozen, at a cap, or with machines enough.
    """
    problems, sick = _list_of(row, "problems"), _list_of(row, "unlaunchable")
    for one in autogroups:
        if one.autogroup_id in sick:
            continue
        try:
            launch_facts(market, one)
        except (LaunchError, LaunchArgsError, RefusedError) as error:
            problems.append(f"{autogroup_name(one.autogroup_id)}: {error}")
            sick.append(one.autogroup_id)
    row["problems"], row["unlaunchable"] = problems, sick


def _caps_asked(question: Question) -> dict[str, int]:
    caps = question.get("caps")
    return {str(name): int(usd) for name, usd in caps.items()} if isinstance(caps, Mapping) else {}


def _list_of(row: Answer, name: str) -> list[object]:
    value = row[name]
    return list(value) if isinstance(value, list) else []


def _plan_row(plan: RoundPlan, group: GroupPlan, refused: Mapping[int, str]) -> Answer:
    decision, owner = group.decision, group.snapshot.group
    problems = {**group.unanswered, **group.unlaunchable}
    notes = [
        reason_facts(note)
        for note in decision.notes
        if note.code not in _UNSEEN or note.facts["autogroup_id"] not in problems
    ]
    ordered = [(action, refused.get(id(action), "")) for action in group.would]
    return {
        "endpoint_id": owner.endpoint_id,
        "now": plan.view.now,
        "is_shadow": owner.shadow,
        "is_frozen": owner.frozen,
        "hot_target": decision.hot_target,
        "total_target": decision.total_target,
        "binding": decision.binding,
        "actions": [_action_row(plan, group, action) for action, cap in ordered if not cap],
        "refused": [{**_action_row(plan, group, one), "cap": cap} for one, cap in ordered if cap],
        "notes": notes,
        "figures": dict(decision.figures),
        "capped_by": group.capped_by,
        "inventory_is_known": plan.view.inventory.is_trusted,
        "offers": {str(key): _prices(value) for key, value in group.snapshot.offers.items()},
        "problems": [f"{autogroup_name(one)}: {why}" for one, why in problems.items()],
        "unlaunchable": list(problems),
        "caps": _caps(plan, owner),
        "storage_usd_per_hour": plan.account.storage_by_group.get(owner.endpoint_id, 0) / MICRO,
    }


def _panic_row(plan: RoundPlan, group: EndpointGroup) -> Answer:
    own = [w for w in plan.workers if w.endpoint_id == group.endpoint_id]
    reason = Reason(code=ReasonCode.PANICKING)
    return {
        "endpoint_id": group.endpoint_id,
        "now": plan.view.now,
        "is_shadow": False,
        "is_frozen": False,
        "hot_target": 0.0,
        "total_target": 0.0,
        "binding": "panic",
        "actions": [
            {"action": "destroy", "instance_id": w.instance_id, "reason": reason_facts(reason)}
            for w in own
        ],
        "refused": [],
        "notes": [reason_facts(reason)],
        "figures": {},
        "capped_by": "",
        "inventory_is_known": plan.view.inventory.is_trusted,
        "offers": {},
        "problems": [],
        "unlaunchable": [],
        "caps": _caps(plan, group),
        "storage_usd_per_hour": 0.0,
    }


def _caps(plan: RoundPlan, group: EndpointGroup) -> list[Answer]:
    """Every cap in dollars, and what counts against it: committed by the hour, or spent."""
    found = limits_of(plan.account, group.endpoint_id, group_caps(group), plan.view.now)
    return [
        {
            "cap": one.name,
            "usd": one.cap / MICRO,
            "used_usd": one.used / MICRO,
        }
        for one in found
    ]


def _offers(ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    """Offers for an autogroup, or for a search with an optional template.

    `hints`: where there is none, say what of the search stands in the way. `with_bids`: also the
    range of the least bids that win now, of those that Vast has time to tell.
    """
    limit = min(MAX_OFFERS, int(_number(question, "limit", 64)))
    autogroup_id = question.get("autogroup_id")
    if isinstance(autogroup_id, int):
        autogroup = ports.groups.find_autogroup(autogroup_id)
        if autogroup is None:
            raise NotFoundError(f"autogroup_id: there is no autogroup {autogroup_id}")
        try:
            launch = launch_facts(market, autogroup)
        except LaunchError as error:
            raise RefusedError("cannot_launch", str(error)) from error
        query, disk_gb = offer_query(autogroup, launch.template), launch.disk_gb
    else:
        template = _template_of(market, question)
        filters = template.extra_filters if template else {}
        query = {**filters, **parse_search_query(question.get("search"))}
        disk_gb = (template.disk_gb if template else 0.0) or DEFAULT_DISK_GB
    disk_gb = _number(question, "disk_gb", disk_gb)
    offers = market.search_once(query, disk_gb=disk_gb, limit=limit)
    answer: Answer = {"offers": [_offer_row(offer) for offer in offers], "query": dict(query)}
    if not offers and question.get("hints"):
        wide = market.search_once({}, disk_gb=disk_gb, limit=MAX_OFFERS)
        answer["hint"] = what_stands_in_the_way(query, wide)
    if question.get("with_bids") and market.has_time_for(Verb.SEARCH):
        bids = market.search_once(query, disk_gb=disk_gb, limit=limit, is_bid=True)
        answer["bids"] = _prices(tuple(bids))
    return answer


def _bundles(_ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    """Offers for a search in Vast's own words, as Vast names them."""
    query = parse_search_query(question.get("search"))
    limit = min(MAX_OFFERS, int(_number(question, "limit", 64)))
    disk_gb = _number(question, "disk_gb", DEFAULT_DISK_GB)
    offers = market.call(
        Verb.SEARCH, lambda vast: vast.search_offers(query, disk_gb=disk_gb, limit=limit)
    )
    return {"offers": [offer_row(offer) for offer in offers]}


def _template(_ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    hash_id = str(question.get("hash_id", ""))
    template = market.find_template(hash_id)
    return {"template": _template_row(template) if template else None}


def _templates(ports: ScalerPorts, market: PacedMarket, _question: Question) -> Answer:
    """The templates that autogroups use."""
    hashes = sorted({a.template_hash for a in ports.groups.list_autogroups() if a.template_hash})
    found = [market.find_template(hash_id) for hash_id in hashes]
    return {"templates": [_template_row(template) for template in found if template]}


def _instance(ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    instance_id = int(_number(question, "instance_id", 0))
    record = market.call(Verb.SHOW, lambda vast: vast.find_instance(instance_id))
    if record is None:
        return {"instance": None}
    return {"instance": instance_row(plausible_record(record, ports.clock.now()))}


def _logs(_ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    instance_id = int(_number(question, "instance_id", 0))
    n_lines = int(_number(question, "n_lines", 1000))
    text = market.call(Verb.LOGS, lambda vast: vast.instance_logs(instance_id, n_lines=n_lines))
    return {"logs": text}


def _gpu_types(_ports: ScalerPorts, market: PacedMarket, _question: Question) -> Answer:
    """Which GPU models are offered now, with how many offers and from which price."""
    offers = market.call(
        Verb.SEARCH,
        lambda vast: vast.search_offers({}, disk_gb=DEFAULT_DISK_GB, limit=MAX_OFFERS),
    )
    rows: dict[str, dict[str, float]] = {}
    for offer in offers:
        row = rows.setdefault(
            offer.gpu_name,
            {
                "gpu_ram_mb": offer.gpu_ram_gb * MB_PER_GB,
                "n": 0,
                "cheapest_usd_per_hour": float("inf"),
            },
        )
        row["n"] += 1
        price = offer.usd_per_hour / max(1, offer.num_gpus)
        row["cheapest_usd_per_hour"] = min(row["cheapest_usd_per_hour"], price)
    return {"gpu_types": [{"canonical_name": name, **rows[name]} for name in sorted(rows)]}


def _balance(_ports: ScalerPorts, market: PacedMarket, _question: Question) -> Answer:
    credit = market.call(Verb.CREDIT, lambda vast: vast.account_credit_usd())
    return {"credit_usd": credit}


def _key_scope(ports: ScalerPorts, market: PacedMarket, _question: Question) -> Answer:
    """What our key may not do, by what it is for, and what Vast did not say."""
    started = ports.clock.monotonic()
    rights = try_rights(market, lambda: ports.clock.monotonic() - started < ASKS_S)
    return {
        "tried": list(rights.tried),
        "refused": dict(rights.refused),
        "unanswered": dict(rights.unanswered),
    }


_QUESTIONS: Mapping[str, Callable[[ScalerPorts, PacedMarket, Question], Answer]] = {
    "plan": _plan,
    "offers": _offers,
    "bundles": _bundles,
    "template": _template,
    "templates": _templates,
    "instance": _instance,
    "logs": _logs,
    "gpu_types": _gpu_types,
    "balance": _balance,
    "key_scope": _key_scope,
}


def _template_of(market: PacedMarket, question: Question) -> Template | None:
    hash_id = question.get("template_hash")
    return market.find_template(hash_id) if isinstance(hash_id, str) and hash_id else None


def _template_row(template: Template) -> Answer:
    """A template without the values of its variables: there may be secrets among them."""
    names = sorted(set(_VARIABLE_NAME.findall(template.env)))
    return {**template_row(template), "env_names": names}


def _action_row(plan: RoundPlan, group: GroupPlan, action: Action) -> Answer:
    """An action; of what reserves money, how much at worst by the hour and once."""
    row: Answer = {"action": action_name(action), "reason": reason_facts(action.reason)}
    ask = ask_for(plan, group, action)
    if ask is not None:
        row["worst_usd_per_hour"] = ask.microusd_per_hour / MICRO
        row["once_usd"] = ask.once_microusd / MICRO
    if isinstance(action, RentOffer):
        return {**row, "autogroup_id": action.autogroup_id, "offer": _offer_row(action.offer)}
    return {**row, "instance_id": action.instance_id}


def _offer_row(offer: Offer) -> Answer:
    return {**asdict(offer), "gpu_type": offer.gpu_type}


def _prices(offers: tuple[Offer, ...]) -> Answer:
    prices = [offer.usd_per_hour for offer in offers]
    return {
        "n": len(prices),
        "cheapest_usd_per_hour": min(prices, default=None),
        "dearest_usd_per_hour": max(prices, default=None),
    }


def _number(question: Question, name: str, default: float) -> float:
    value = question.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PortError(f"{name}: {value!r} is not a number")
    return float(value)
