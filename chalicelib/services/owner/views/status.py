"""The state of everything in one answer: groups, workers, money, doubts, last decisions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.fleet.inventory import in_words
from chalicelib.core.fleet.searching import DAILY_ROWS
from chalicelib.core.fleet.troubles import LastingTrouble, TroubleKind
from chalicelib.core.model.autogroup import Autogroup, AutogroupState, own_cause
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState
from chalicelib.core.model.load import WAITING_ENDS_S, WaitingRequest, believed_perf, granted_within
from chalicelib.core.model.scopes import endpoint_scope
from chalicelib.core.model.usable import usable_workers
from chalicelib.core.model.vouching import vouch
from chalicelib.core.model.warmth import SPARED_SPAN_S, hit_share, spared_share
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.budget import MICRO
from chalicelib.core.money.spend import spent_today_usd
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.event_log import Event
from chalicelib.ports.ledger import Account
from chalicelib.services.keys import Caller
from chalicelib.services.owner.exploration import exploration_row
from chalicelib.services.owner.facts import (
    read_memory,
    standing_troubles,
    trouble_row,
    usd_per_hour_now,
)
from chalicelib.services.owner.groups import list_groups
from chalicelib.services.owner.views.health import HealthFacts, judge_health, scaler_silence
from chalicelib.services.owner.views.observability import (
    Subject,
    current_stats,
    event_row,
    has_cause,
    known_wait,
    newest_minute,
)

Row = dict[str, object]

ERROR_CHARS = 120  # of a worker's error, among the reasons
DECISION_WITHIN_S = 86_400.0
RECENT_DECISIONS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """All that was read about one group."""

    group: EndpointGroup
    autogroups: Sequence[Autogroup]
    workers: Sequence[Worker]
    waiting: Sequence[WaitingRequest]
    minute: Mapping[str, float]
    account: Account
    memory: RoundMemory
    now: float

    def total(self, *states: WorkerState) -> float:
        """Capacity of the workers in these states."""
        return sum(believed_perf(w) for w in self.workers if w.state in states)

    def ready(self) -> float:
        """Capacity of the workers that can be given requests (core/model/usable.py)."""
        return sum(believed_perf(w) for w in usable_workers(self.workers, self.now))


def read_status(ports: ApiPorts, caller: Caller, now: float, endpoint_id: int | None = None) -> Row:
    """The state of the account and of the groups within the key's scope."""
    account = ports.ledger.account()
    memory = read_memory(ports)
    groups = [
        _group_row(ports, _read(ports, group, account, memory, now))
        for group in list_groups(ports, caller)
        if endpoint_id in (None, group.endpoint_id)
    ]
    return {"now": now, "account": _account_row(account, memory, now), "groups": groups}


def metric_samples(
    ports: ApiPorts, caller: Caller, now: float
) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Every group's figures as (name, labels, value), for Prometheus."""
    for group in list_groups(ports, caller):
        stats = current_stats(ports, Subject(group=group), now)
        labels = {"endpoint": group.name, "endpoint_id": str(group.endpoint_id)}
        for name, value in stats.items():
            if isinstance(value, int | float) and name != "id":
                in_full = name.removesuffix("_s") + "_seconds" if name.endswith("_s") else name
                yield f"ballast_{in_full}", labels, float(value)
    if caller.endpoint_id is None:
        account = ports.ledger.account()
        yield "ballast_committed_usd_per_hour", {}, account.committed_microusd_per_hour / MICRO
        yield "ballast_spent_today_usd", {}, _spent_today(read_memory(ports), now)
        yield "ballast_counted_today_usd", {}, account.spent_today_microusd / MICRO
        yield "ballast_counted_month_usd", {}, account.spent_month_microusd / MICRO


def _read(
    ports: ApiPorts, group: EndpointGroup, account: Account, memory: RoundMemory, now: float
) -> _Facts:
    return _Facts(
        group=group,
        autogroups=ports.groups.list_autogroups(group.endpoint_id),
        workers=vouch(ports.workers.list(group.endpoint_id), now),
        waiting=ports.waiting.list(group.endpoint_id, polled_since=now - WAITING_ENDS_S),
        minute=newest_minute(ports, memory, endpoint_scope(group.endpoint_id), now),
        account=account,
        memory=memory,
        now=now,
    )


def _group_row(ports: ApiPorts, facts: _Facts) -> Row:
    group, money = facts.group, _money(facts)
    scope = endpoint_scope(group.endpoint_id)
    since = facts.now - DECISION_WITHIN_S
    decisions = ports.events.tail(
        scope, limit=RECENT_DECISIONS, since=since, kinds=frozenset({"decision"})
    )
    verdict = judge_health(_health_facts(facts, money))
    return {
        "id": group.endpoint_id,
        "endpoint_name": group.name,
        "endpoint_state": group.state.value,
        "is_frozen": group.frozen,
        "is_shadow": group.shadow,
        "health": verdict.health.value,
        "health_reasons": list(verdict.reasons),
        "troubles": [trouble_row(trouble) for trouble in _troubles(facts)],
        "load": _load(facts),
        "n_usable": len(usable_workers(facts.workers, facts.now)),
        "ready_by_gpu": _by_gpu(usable_workers(facts.workers, facts.now), WorkerState.READY),
        "cold_by_gpu": _by_gpu(facts.workers, WorkerState.STOPPED),
        "queue": _queue(facts),
        "cache": _cache(facts),
        "money": money,
        "interruptible": _interruptible(facts.workers),
        "workers_by_state": _by_state(facts.workers),
        "n_workers": len(facts.workers),
        "max_workers": group.params.max_workers,
        "last_decision": _telling(decisions),
        "autogroups": [_autogroup_row(facts, autogroup) for autogroup in facts.autogroups],
    }


def _telling(decisions: Sequence[Event]) -> Row | None:
    """The newest decision with a cause of its own: that a drain ended only follows from another."""
    caused = [one for one in decisions if has_cause(one)] or decisions
    return event_row(caused[-1]) if caused else None


def _load(facts: _Facts) -> Row:
    return {
        "arriving": facts.minute.get("arriving_load", 0.0),
        "ready_capacity": facts.ready(),
        "cold_capacity": facts.total(WorkerState.STOPPED),
        "loading_capacity": facts.total(*(state for state in WorkerState if state.is_coming_up)),
        "hot_target": facts.minute.get("hot_target"),
        "total_target": facts.minute.get("total_target"),
    }


def _queue(facts: _Facts) -> Row:
    ready = facts.ready()
    load = sum(request.cost for request in facts.waiting)
    oldest = min((request.first_seen_at for request in facts.waiting), default=facts.now)
    return {
        "queue_time_s": known_wait(facts.minute, is_any_ready=ready > 0),
        "target_s": facts.group.params.target_queue_time,
        "max_s": facts.group.params.max_queue_time,
        "n_waiting": len(facts.waiting),
        "waiting_load": load,
        "oldest_wait_s": facts.now - oldest,
        "eta_s": load / ready if ready > 0 else None,
        "late_share": facts.minute.get("late_share", 0.0),
    }


def _cache(facts: _Facts) -> Row:
    """What caches of prompts held in the last ten minutes; null where no worker tells."""
    telling = [worker for worker in facts.workers if worker.state.is_answering]
    return {
        "hit_share": hit_share(worker.cache for worker in telling),
        "spared_share": spared_share(
            (worker.cache, granted_within(worker, SPARED_SPAN_S, facts.now)) for worker in telling
        ),
    }


def _money(facts: _Facts) -> dict[str, float]:
    account, params, key = facts.account, facts.group.params, facts.group.endpoint_id
    caps = (
        ("cap_usd_per_hour", params.max_usd_per_hour, account.caps_microusd_per_hour),
        ("cap_usd_per_day", params.max_usd_per_day, account.caps_microusd_per_day),
        ("cap_usd_per_month", params.max_usd_per_month, account.caps_microusd_per_month),
    )
    return {
        "usd_per_hour": sum(usd_per_hour_now(worker) for worker in facts.workers),
        "spent_today_usd": _spent_today(facts.memory, facts.now, key),
        "counted_today_usd": account.spent_today_by_group.get(key, 0) / MICRO,
        "counted_month_usd": account.spent_month_by_group.get(key, 0) / MICRO,
        **{
            name: min(of_account / MICRO, float("inf") if own is None else own)
            for name, own, of_account in caps
        },
    }


def _interruptible(workers: Sequence[Worker]) -> Row | None:
    """The machines at bids: how many are there and how many outbid, at which mean bid and price.

    Null without any; `on_demand_usd_per_hour` is null where no machine's price is known.
    """
    bids = [worker for worker in workers if worker.is_bid]
    if not bids:
        return None
    prices = [w.on_demand_usd_per_hour for w in bids if w.on_demand_usd_per_hour > 0]
    n_outbid = sum(worker.state is WorkerState.PAUSED for worker in bids)
    return {
        "n_held": len(bids),
        "n_outbid": n_outbid,
        "mean_bid_usd_per_hour": sum(w.bid_usd_per_hour for w in bids) / len(bids),
        "mean_on_demand_usd_per_hour": sum(prices) / len(prices) if prices else None,
    }


def _health_facts(facts: _Facts, money: Mapping[str, float]) -> HealthFacts:
    states = Counter(worker.state for worker in facts.workers)
    used = (
        (money["usd_per_hour"], money["cap_usd_per_hour"]),
        (money["counted_today_usd"], money["cap_usd_per_day"]),
        (money["counted_month_usd"], money["cap_usd_per_month"]),
    )
    return HealthFacts(
        n_ready=len(usable_workers(facts.workers, facts.now)),
        n_waiting=len(facts.waiting),
        n_in_error=states[WorkerState.ERROR],
        error=next((w.error[:ERROR_CHARS] for w in facts.workers if _is_in_error(w)), ""),
        n_unreachable=states[WorkerState.UNREACHABLE],
        n_outbid=states[WorkerState.PAUSED],
        n_loading=sum(states[state] for state in WorkerState if state.is_coming_up),
        ready_capacity=facts.ready(),
        hot_target=facts.minute.get("hot_target", 0.0),
        n_started=facts.minute.get("n_started", 0.0),
        n_late=facts.minute.get("n_late", 0.0),
        allowed_late_share=1.0 - facts.group.params.slo_target,
        cap_used=max(spent / cap if cap > 0 else 1.0 for spent, cap in used),
        queue_time_s=facts.minute.get("queue_time_s", 0.0),
        target_queue_time_s=facts.group.params.target_queue_time,
        is_off=_off(facts.group),
        own_cause=own_cause(facts.autogroups, is_shadow=facts.group.shadow),
        is_held=_held(facts),
        troubles=_troubles(facts),
    )


def _is_in_error(worker: Worker) -> bool:
    return worker.state is WorkerState.ERROR and bool(worker.error)


def _troubles(facts: _Facts) -> Sequence[LastingTrouble]:
    """What stands against the group now: its own, its autogroups' and the account's troubles."""
    return standing_troubles(facts.memory, facts.group, facts.autogroups, facts.now)


def _off(group: EndpointGroup) -> str:
    if group.state not in (GroupState.SUSPENDED, GroupState.STOPPED):
        return ""
    return (
        f"{group.state.value}, as you wished: nothing runs, and whoever asks waits; "
        f"`ballast resume {group.name}` serves them"
    )


def _held(facts: _Facts) -> str:
    if facts.account.why_not_ours:
        return f"{facts.account.why_not_ours}: its scaler stands down; deploy the newer version"
    inventory, doubt = facts.memory.inventory, ""
    told = {one.kind for one in _troubles(facts)}
    if facts.memory.at and not inventory.is_trusted and TroubleKind.INVENTORY_UNKNOWN not in told:
        doubt = f"Vast's list of instances is not trusted ({in_words(inventory.problem)})"
    brake = ""
    if facts.account.is_panicking and TroubleKind.PANIC not in told:
        brake = "panic: every instance is being destroyed"
    elif facts.account.is_frozen or facts.group.frozen:
        brake = "frozen: nothing is rented, started, stopped or destroyed"
    if doubt and not brake:
        return f"{doubt}; nothing is rented or destroyed until a second one agrees"
    return "; ".join(filter(None, (brake, doubt)))


def _autogroup_row(facts: _Facts, autogroup: Autogroup) -> Row:
    workers = [w for w in facts.workers if w.autogroup_id == autogroup.autogroup_id]
    weights = sum(a.weight for a in facts.autogroups if _takes_part(a) and a.tier == autogroup.tier)
    takes_part = _takes_part(autogroup) and weights > 0
    return {
        "id": autogroup.autogroup_id,
        "template_hash": autogroup.template_hash,
        "search_params": autogroup.search_text,
        "weight": autogroup.weight,
        "tier": autogroup.tier,
        "state": autogroup.state.value,
        "test_workers": autogroup.test_workers,
        "n_workers": len(workers),
        "workers_by_state": _by_state(workers),
        "share": autogroup.weight / weights if takes_part else 0.0,
        "exploration": exploration_row(autogroup, workers, facts.memory),
    }


def _takes_part(autogroup: Autogroup) -> bool:
    return autogroup.state is AutogroupState.ACTIVE


def _by_state(workers: Sequence[Worker]) -> Row:
    return dict(Counter(worker.state.value for worker in workers))


def _by_gpu(workers: Sequence[Worker], state: WorkerState) -> dict[str, float]:
    capacity: dict[str, float] = defaultdict(float)
    for worker in workers:
        if worker.state is state:
            capacity[worker.gpu_type] += believed_perf(worker)
    return dict(capacity)


def _spent_today(memory: RoundMemory, now: float, endpoint_id: int | None = None) -> float:
    """The likely dollars of the UTC day, of a group or all; the caps count the worst."""
    chosen = memory.spend.values() if endpoint_id is None else [memory.spend.get(str(endpoint_id))]
    return sum((spent_today_usd(tally, now) for tally in chosen if tally), 0.0)


def _account_row(account: Account, memory: RoundMemory, now: float) -> Row:
    inventory = memory.inventory
    state = "none" if not memory.at else "known" if inventory.is_trusted else "unknown"
    return {
        "is_frozen": account.is_frozen,
        "is_panicking": account.is_panicking,
        "committed_usd_per_hour": account.committed_microusd_per_hour / MICRO,
        "spent_today_usd": _spent_today(memory, now),
        "counted_today_usd": account.spent_today_microusd / MICRO,
        "counted_month_usd": account.spent_month_microusd / MICRO,
        "idle_today_usd": account.idle_today_microusd / MICRO,
        "caps": {
            "usd_per_hour": account.caps_microusd_per_hour / MICRO,
            "usd_per_day": account.caps_microusd_per_day / MICRO,
            "usd_per_month": account.caps_microusd_per_month / MICRO,
            "idle_usd_per_day": account.caps_idle_microusd_per_day / MICRO,
        },
        "inventory": {
            "state": state,
            "at": inventory.listed_at or None,
            "n_instances": inventory.n_instances,
            "n_strays": memory.n_strays,
            "problem": in_words(inventory.problem) if memory.at else "",
        },
        "scaler": {
            "last_round_at": memory.at or None,
            "silence": scaler_silence(memory.at, now),
        },
        "searches": {
            "today": memory.search_day.on(now).n_searches,
            "rows_today": memory.search_day.on(now).n_rows,
            "rows_per_day": DAILY_ROWS,
        },
    }
