"""Rows of a search held against the search itself: Vast does not always apply its filters.

Two clients in production check every row again (dstackai/gpuhunt, marcosremar/ai-gateway), and one
recorded a filter that hid what fits it (tests/evidence/vast/search.json).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from chalicelib.adapters.vast.rows import Row, RowError, is_verified, parse_offer
from chalicelib.adapters.vast.values import written
from chalicelib.core.model.market import out_of_bounds
from chalicelib.ports.marketplace import FoundOffers

_ORDERS = frozenset({"gt", "gte", "lt", "lte"})
_CONTROL = frozenset({"order", "type", "limit", "allocated_storage"})
_COUNTRY = re.compile(r"(?:^|.*[,\s])([A-Z]{2})$")


def usable_offers(
    rows: Iterable[Row], body: Mapping[str, object], disk_gb: float, now: float
) -> FoundOffers:
    """The offers among the rows that a search with this body may use; the others are counted."""
    offers, left_out = [], Counter[str]()
    is_bid = body.get("type") == "bid"
    for row in rows:
        try:
            offer = parse_offer(row, disk_gb, now, is_bid=is_bid)
        except RowError as error:
            left_out[str(error).partition(":")[0]] += 1
            continue
        if wrong := unmet_condition(row, body) or out_of_bounds(offer, now):
            left_out[wrong] += 1
        else:
            offers.append(offer)
    return FoundOffers(offers, left_out)


def unmet_condition(row: Row, body: Mapping[str, object]) -> str:
    """The first condition of a search's body that a row does not meet; "" if it meets all.

    What a row says nothing about counts as met, except that it is verified.
    """
    if row.get("rentable") is False:
        return "rentable"
    if body.get("type") == "on-demand" and row.get("is_bid") is True:
        return "is_bid"
    if body.get("type") == "bid" and row.get("is_bid") is False:
        return "is_bid"
    if _is_less(_value_of(row, "disk_space"), body.get("allocated_storage")):
        return "disk_space"
    for name, condition in body.items():
        if name in _CONTROL or not isinstance(condition, Mapping):
            continue
        value = _value_of(row, name)
        if value is None:
            continue
        if not all(_holds(name, value, str(op), wanted) for op, wanted in condition.items()):
            return name
    return ""


def _value_of(row: Row, name: str) -> object:
    """What a row says about a field of a search; some are named or written otherwise in rows."""
    if name == "verified":
        return is_verified(row)
    if name == "reliability":
        return row.get("reliability2", row.get("reliability"))
    if name == "driver_version":
        return row.get("driver_vers")
    if name == "geolocation":
        found = _COUNTRY.fullmatch(str(row.get("geolocation") or "").strip())
        return found[1] if found else None
    return row.get(name)


def _holds(name: str, value: object, op: str, wanted: object) -> bool:
    if name == "geolocation" and not _are_countries(wanted):
        return True  # a town: only Vast can match that
    if op in _ORDERS and written(wanted) is not None and written(value) is None:
        return False  # no number: neither below nor above
    test = _TESTS.get(op)
    return test is None or test(value, wanted)


def _are_countries(wanted: object) -> bool:
    items = wanted if isinstance(wanted, list) else [wanted]
    return all(isinstance(item, str) and re.fullmatch(r"[A-Z]{2}", item) for item in items)


def _is_equal(value: object, wanted: object) -> bool:
    """Equal as Vast compares: numbers by value, names with "_" for blanks, a flag by its word."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return str(value).lower() == str(wanted).lower()
    a, b = written(value), written(wanted)
    if a is not None and b is not None:
        return a == b
    return str(value).replace("_", " ") == str(wanted).replace("_", " ")


def _is_less(value: object, wanted: object) -> bool:
    a, b = written(value), written(wanted)
    return a is not None and b is not None and a < b


def _is_in(value: object, wanted: object) -> bool:
    items = wanted if isinstance(wanted, list) else [wanted]
    return any(_is_equal(value, item) for item in items)


_TESTS: Mapping[str, Callable[[object, object], bool]] = {
    "eq": _is_equal,
    "neq": lambda value, wanted: not _is_equal(value, wanted),
    "gt": lambda value, wanted: not (_is_less(value, wanted) or _is_equal(value, wanted)),
    "gte": lambda value, wanted: not _is_less(value, wanted),
    "lt": _is_less,
    "lte": lambda value, wanted: not _is_less(wanted, value),
    "in": _is_in,
    "notin": lambda value, wanted: not _is_in(value, wanted),
}
