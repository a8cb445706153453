"""The pretend market's listing, page by page, with everything that can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.wire.vast import PAGE_SIZE
from fakes.market.market import Market
from fakes.market.market_faults import Fault
from fakes.market.market_instance import MarketInstance
from fakes.market.market_offers import matches, ordered
from fakes.market.market_refusal import MarketRefusal

HTML = "<!doctype html><html><head><title>Vast.ai</title></head><body></body></html>"
_LOOP_TOKEN = "bG9vcA=="  # noqa: S105  a page token
_EMPTY: Mapping[str, object] = {
    "success": True,
    "instances": [],
    "instances_found": 0,
    "total_instances": 0,
    "label_counts": {},
    "next_token": None,
}


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What a page is asked for; `after_token` "" is the first."""

    after_token: str = ""
    limit: int = PAGE_SIZE
    conditions: Mapping[str, object] | None = None
    order: object = None


def listing_page(market: Market, query: PageQuery, now: float) -> Mapping[str, object]:
    """One page of `GET /api/v1/instances/` (protocol.md F.3), as the faults let it.

    Raises:
        MarketRefusal: an answer that is no JSON object.
    """
    _refuse_whole_listing(market)
    if market.faults.strikes(Fault.EMPTY_LIST):
        return _EMPTY
    chosen = _choose(visible_instances(market, now), query)
    begin = int(query.after_token) if query.after_token.isdecimal() else 0
    end = begin + max(1, min(query.limit, PAGE_SIZE))
    page = {
        **_EMPTY,
        "instances": [instance.row() for instance in chosen[begin:end]],
        "instances_found": len(chosen),
        "total_instances": len(chosen),
        "next_token": str(end) if end < len(chosen) else None,
    }
    return _spoil(market, page)


def visible_instances(market: Market, now: float) -> list[MarketInstance]:
    """The contracts that a listing shows now, by id; it may lag behind the truth."""
    living = market.instances.values()
    if not market.faults.strikes(Fault.LISTING_LAGS):
        return sorted(living, key=lambda i: i.instance_id)
    then = now - market.faults.option(Fault.LISTING_LAGS, "lag_s")
    old = [i for i in living if i.created_at <= then]
    left = [i for i in market.lives.gone if i.created_at <= then < (i.gone_at or 0.0)]
    return sorted([*old, *left], key=lambda i: i.instance_id)


def _refuse_whole_listing(market: Market) -> None:
    if market.faults.strikes(Fault.DEPRECATED_LIST):
        raise MarketRefusal.stating(410, "deprecated_endpoint", "use another endpoint")
    if market.faults.strikes(Fault.HTML_LIST):
        raise MarketRefusal(200, HTML)


def _choose(shown: list[MarketInstance], query: PageQuery) -> list[MarketInstance]:
    if not query.conditions and not query.order:
        return shown
    by_id = {str(instance.instance_id): instance for instance in shown}
    rows = [row for i in shown if matches(row := i.row(), query.conditions or {})]
    return [by_id[str(row["id"])] for row in ordered(rows, query.order)]


def _spoil(market: Market, page: Mapping[str, object]) -> Mapping[str, object]:
    if page["next_token"] is None and market.faults.strikes(Fault.PAGE_MISSING):
        return {}
    if market.faults.strikes(Fault.TOKEN_LOOP):
        return {**page, "next_token": _LOOP_TOKEN}
    rows = page["instances"]
    if isinstance(rows, list) and rows and market.faults.strikes(Fault.DUPLICATE_IDS):
        return {**page, "instances": [*rows, rows[0]]}
    return page
