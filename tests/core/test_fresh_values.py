"""What the rules' values say before anything is known, and of stored bytes that lack a field.

A default that leans the wrong way (free disks, a known inventory, an open cap) would be believed.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, asdict, replace
from dataclasses import fields as dataclass_fields
from typing import Any

import pytest

from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.reconcile import Books, Reconciliation
from chalicelib.core.fleet.troubles import LastingTrouble, Severity, Trouble, TroubleMeaning
from chalicelib.core.money.account import Account, RoundBooking
from chalicelib.core.money.budget import Ask, GroupCaps
from chalicelib.core.routing.admission import AdmissionParams, Bound, Cutoff, Queued
from chalicelib.core.scaling.law import Knob
from chalicelib.core.scaling.occupancy import Demand

INTENT = RentIntent(
    token="t",
    endpoint_id=1,
    autogroup_id=2,
    state=IntentState.PLANNED,
    planned_at=3.0,
    offer_id=4,
    machine_id=5,
    gpu_name="RTX 4090",
    num_gpus=1,
    usd_per_hour=0.5,
    reserved_microusd_per_hour=500_000,
)
UNTOLD: dict[type, dict[str, Any]] = {
    RentIntent: {
        **{"reserved_once_microusd": 0, "storage_usd_per_hour": 0.0, "host_id": 0, "dlperf": 0.0},
        **{
            "load_s": 0.0,
            "is_bid": False,
            "bid_usd_per_hour": 0.0,
            "bid_margin": 1.0,
            "place": "",
            "key_id": "",
        },
        **{"on_demand_usd_per_hour": 0.0, "template_revision": 1, "uses_ssl": True},
        **{"worker_port": 3000, "attempt_ended_at": None, "settled_at": None},
        **{"instance_id": None, "problem": "", "unknown": {}},
    },
    Inventory: {
        **{"is_known": False, "problem": "never listed", "listed_at": 0.0, "unknown_since": None},
        **{
            "n_instances": 0,
            "n_empty": 0,
            "is_under_way": False,
            "absences": {},
            "absent_since": {},
        },
    },
    Reconciliation: {"settled": (), "new_rows": (), "unclaimed": (), "suspected": {}},
    Account: {
        **{"caps_microusd_per_hour": 5_000_000, "caps_microusd_per_day": 50_000_000},
        **{"caps_microusd_per_month": 500_000_000, "caps_idle_microusd_per_day": 10_000_000},
        **{"committed_by_group": {}, "storage_by_group": {}, "workers_by_group": {}},
        **{"spent_today_by_group": {}, "spent_month_by_group": {}, "idle_today_microusd": 0},
        **{"day": "", "month": "", "booked_at": 0.0, "before_jump": None},
        **{"is_frozen": False, "is_panicking": False},
        **{"lease_owner": "", "lease_until": 0.0, "fence": 0, "next_call_at": {}},
        **{"public_url": "", "schema_version": 1, "version": 0, "unknown": {}},
        **{"is_foreign": False, "n_lanes": 0},
    },
    RoundBooking: {
        **{"idle_microusd": 0, "committed_by_group": None},
        **{"storage_by_group": {}, "workers_by_group": {}},
    },
    Ask: {"once_microusd": 0},
    GroupCaps: {"microusd_per_hour": None, "microusd_per_day": None, "microusd_per_month": None},
    Trouble: {"subject": "", "facts": {}},
    TroubleMeaning: {"severity": Severity.BAD, "matters_after_s": 0.0},
    LastingTrouble: {
        **{"subject": "", "facts": {}, "absent_since": 0.0, "is_told": False},
        **{"was_over": False, "has_returned": False},
    },
    AdmissionParams: {
        **{"target_queue_time": 10.0, "max_queue_time": 30.0, "queue_order": "on_time_first"},
    },
    Queued: {"key_id": "", "is_paced": False},
    Cutoff: {
        **{"admit_before": float("inf"), "overdue_admit_before": float("inf")},
        **{"hold_share": 0.0, "typical_cost": 0.0},
    },
    Bound: {"is_strict": False},
    Knob: {
        "smooth_s": 0.0,
        "headroom": 0.0,
        "rise_s": 0.0,
        "trend": 0.0,
        "unseen": 1.0,
        "pool_window_s": 14_400.0,
    },
    Demand: {"knows_slots": True, "lasting_occupancy": None, "lasting_rate": None},
}
TOLD: dict[type, dict[str, Any]] = {
    RoundBooking: {"booked_until": 1.0, "spent_by_group": {}},
    Ask: {"endpoint_id": 1, "microusd_per_hour": 2, "n_workers": 3},
    GroupCaps: {"max_workers": 1},
    Trouble: {"kind": "panic", "scope": "account", "message": "m"},
    TroubleMeaning: {"title": "t", "action": "a"},
    LastingTrouble: {"kind": "panic", "scope": "account", "since": 1.0, "message": "m"},
    Queued: {"first_seen_at": 1.0, "cost": 2.0},
    Bound: {"within_s": 1.0},
    Knob: {"utilisation": 1.0, "hold_s": 2.0},
    Demand: {"occupancy": 1.0, "serving": 1.0, "load_rate": 1.0, "has_work": True},
}


def is_asked_for(field: Field[object]) -> bool:
    """Whether a field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


@pytest.mark.parametrize("kind", list(UNTOLD), ids=lambda kind: kind.__name__)
def test_what_nobody_told_is_this(kind: type) -> None:
    told = TOLD.get(kind, {})
    fresh = INTENT if kind is RentIntent else kind(**told)
    untold = {name: getattr(fresh, name) for name in UNTOLD[kind]}
    assert untold == UNTOLD[kind]
    fields = set(asdict(fresh))
    given = set(told) or {field.name for field in dataclass_fields(kind) if is_asked_for(field)}
    assert fields == given | set(UNTOLD[kind]), "a new field says here what it is when untold"


def test_what_another_version_adds_makes_no_value_another_one() -> None:
    assert replace(INTENT, unknown={"colour": "red"}) == INTENT
    assert Account(unknown={"colour": "red"}) == Account()


def test_the_books_words_hold_no_function() -> None:
    books = Books(groups=(), autogroups=(), workers=(), intents=(), is_our_token=lambda _: True)
    assert "lambda" not in repr(books)
