"""Management's questions that only the scaler can answer: it alone holds the Vast key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict

from chalicelib.core.fleet.pacing import Pacing, Verb
from chalicelib.core.model.market import Offer
from chalicelib.core.scaling.actions import Action, RentOffer
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
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.services.market.vast_rows import MB_PER_GB, instance_row, offer_row, template_row
from chalicelib.services.rounds.journal.round_log import action_name, reason_facts
from chalicelib.services.rounds.round import plan_round
from chalicelib.wire.search_query import parse_search_query

Question = Mapping[str, object]
Answer = dict[str, object]

WAITS_S = 15.0  # API Gateway waits 29 s for the whole answer
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
    pacing = Pacing(ports.ledger.account().next_call_at, ports.pacing_scale)
    market = PacedMarket(ports.marketplace, ports.clock, pacing, waits_until=now + WAITS_S)
    kind = str(question.get("ask", ""))
    ask = _QUESTIONS.get(kind)
    if ask is None:
        raise PortError(f"ask: {kind!r} is no question; known: {', '.join(sorted(_QUESTIONS))}")
    return ask(ports, market, question)


def _plan(ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    """The very plan that the next round would carry out, of one group or of all."""
    now = ports.clock.now()
    plan = plan_round(ports, market, ports.ledger.account(), now, searches_at_once=True)
    wanted = question.get("endpoint_id")
    groups = [g for g in plan.groups if wanted in (None, g.snapshot.group.endpoint_id)]
    if not groups:
        raise NotFoundError(f"endpoint_id: there is no endpoint group {wanted!r}")
    rows: list[Answer] = []
    for group in groups:
        decision = group.decision
        actions = group.decision.actions if group.snapshot.group.shadow else group.actions
        rows.append(
            {
                "endpoint_id": group.snapshot.group.endpoint_id,
                "now": now,
                "hot_target": decision.hot_target,
                "total_target": decision.total_target,
                "binding": decision.binding,
                "actions": [_action_row(action) for action in actions],
                "notes": [reason_facts(note) for note in decision.notes],
                "figures": dict(decision.figures),
                "capped_by": group.capped_by,
                "inventory_is_known": plan.view.inventory.is_known,
                "offers": {
                    str(key): _prices(value) for key, value in group.snapshot.offers.items()
                },
            }
        )
    return rows[0] if wanted is not None else {"plans": rows}


def _offers(ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    """Offers for an autogroup, or for a search with an optional template."""
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
    offers = market.call(
        Verb.SEARCH, lambda vast: vast.search_offers(query, disk_gb=disk_gb, limit=limit)
    )
    return {"offers": [_offer_row(offer) for offer in offers], "query": dict(query)}


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


def _instance(_ports: ScalerPorts, market: PacedMarket, question: Question) -> Answer:
    instance_id = int(_number(question, "instance_id", 0))
    record = market.call(Verb.SHOW, lambda vast: vast.find_instance(instance_id))
    return {"instance": instance_row(record) if record else None}


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


def _key_scope(_ports: ScalerPorts, market: PacedMarket, _question: Question) -> Answer:
    """What our key may not do, by what it is for, or Vast did not say."""
    rights = try_rights(market)
    return {"tried": list(rights.tried), "refused": {**rights.refused, **rights.unanswered}}


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


def _action_row(action: Action) -> Answer:
    row: Answer = {"action": action_name(action), "reason": reason_facts(action.reason)}
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
