"""What an owner should know for as long as it lasts: told when it begins to matter, and its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core.fleet.breakers import TEMPLATE_FAILURES
from chalicelib.core.scaling.explain import CAP_NAMES
from chalicelib.ports.event_log import Event
from chalicelib.services.rounds.acting import ACTOR
from chalicelib.services.rounds.journal.notifications import REPEAT_AFTER_S
from chalicelib.services.rounds.values import GroupPlan, RoundPlan, RoundView

MATTERS_AFTER_S: Mapping[str, float] = {"inventory_unknown": 300.0, "stray_machines": 300.0}
"""What often passes by itself is told once it has lasted so long; all else at once."""

RETRY_NOTICE_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Something an owner should know, for as long as it lasts."""

    kind: str
    scope: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Under which it is remembered."""
        return f"{self.kind}|{self.scope}"


def find_troubles(view: RoundView, groups: Sequence[GroupPlan]) -> list[Trouble]:
    """What is wrong in this round: doubt, caps, and autogroups that cannot be launched."""
    troubles = []
    was_doubted = "inventory_unknown|account" in view.memory.troubles
    # A first empty listing is no trouble by itself, but it ends none either.
    if not view.inventory.is_known and (was_doubted or not view.inventory.n_empty):
        text = f"Vast's list of instances cannot be trusted: {view.inventory.problem}"
        troubles.append(Trouble(kind="inventory_unknown", scope="account", message=text))
    for group in groups:
        if cap := _reached_cap(group, view.memory.troubles):
            name = CAP_NAMES.get(cap, cap)
            text = f"a spending cap is reached ({name}): nothing more is rented or started"
            scope = _scope(group)
            troubles.append(
                Trouble(kind="cap_reached", scope=scope, message=text, facts={"cap": cap})
            )
        troubles += _unlaunchable(group, view.memory.troubles)
    return troubles


def is_capped(group: GroupPlan, told: Mapping[str, float]) -> bool:
    """Whether the owner was told that a spending cap holds the group back."""
    return f"cap_reached|{_scope(group)}" in told


def _scope(group: GroupPlan) -> str:
    return f"endpoint:{group.snapshot.group.endpoint_id}"


def _reached_cap(group: GroupPlan, told: Mapping[str, float]) -> str:
    """The spending cap that holds a group back, or "".

    Where no offer was seen in this round, it is believed to be as it was.
    """
    caps = group.snapshot.caps
    why_not = group.capped_by or caps.why_not
    if "cap" in why_not.split("_"):
        return why_not
    codes = {note.code for note in group.decision.notes}
    is_refused = "cap_usd" in codes or ("no_offers" in codes and is_capped(group, told))
    return caps.bound_by if is_refused else ""


def _unlaunchable(group: GroupPlan, told: Mapping[str, float]) -> list[Trouble]:
    """Autogroups that nothing can be rented for; the others of the account go on as ever.

    One whose search had no turn in this round is believed to be as it was.
    """
    found = []
    for autogroup_id in group.decision.wants_offers:
        text = f"autogroup {autogroup_id} cannot be launched: "
        trouble = Trouble(
            kind="cannot_launch",
            scope=f"autogroup:{autogroup_id}",
            message=text + group.unlaunchable.get(autogroup_id, "as before"),
        )
        was_looked_at = autogroup_id in group.snapshot.offers
        if autogroup_id in group.unlaunchable or (not was_looked_at and trouble.key in told):
            found.append(trouble)
    return found


def lasting_troubles(plan: RoundPlan) -> list[Trouble]:
    """A panic, machines that nobody knows, no credit, and templates that only fail."""
    troubles = []
    unclaimed = plan.reconciliation.unclaimed
    for kind, holds, text in (
        ("panic", plan.view.account.is_panicking, "panic: every instance is being destroyed"),
        (
            "stray_machines",
            unclaimed,
            f"{len(unclaimed)} instances carry a label of ours but are in no book of ours, and are "
            f"left alone: {', '.join(str(one) for one in unclaimed[:20])}",
        ),
        (
            "no_credit",
            plan.memory.credit_retry_at,
            "the Vast account has no credit left: nothing can be rented",
        ),
    ):
        if holds:
            troubles.append(Trouble(kind=kind, scope="account", message=text))
    for key, record in plan.memory.reputation.templates.items():
        if record.n_openings:
            text = (
                f"autogroup {key}: workers failed on {TEMPLATE_FAILURES} machines or more "
                f"without a success; last error: {record.last_error}"
            )
            facts = {"autogroup_id": int(key), "last_error": record.last_error}
            troubles.append(
                Trouble(kind="breaker_open", scope=f"autogroup:{key}", message=text, facts=facts)
            )
    return troubles


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """What a round tells of its troubles. `lasting`: since when, by key."""

    lasting: Mapping[str, float]
    events: Sequence[Event]
    reminders: Sequence[Event]  # for the notifiers alone, should they have failed before


def tell_troubles(
    before: Mapping[str, float], troubles: Sequence[Trouble], last_at: float, now: float
) -> Telling:
    """Each trouble is told once when it matters, and once when it ends.

    `last_at`: of the round before. Every few minutes the notifiers get another chance, for as long
    as they would not repeat themselves.
    """
    newest = {trouble.key: trouble for trouble in troubles}
    lasting = {key: before.get(key, now) for key in newest}
    events, reminders = [], []
    for key, trouble in newest.items():
        due_at = lasting[key] + MATTERS_AFTER_S.get(trouble.kind, 0.0)
        event = _event(now, trouble.scope, trouble.kind, trouble.message, trouble.facts)
        was_told = key in before and due_at <= last_at
        if due_at <= now and not was_told:
            events.append(event)
        elif was_told and _is_due_again(due_at, last_at, now):
            reminders.append(event)
    return Telling(
        lasting=lasting,
        events=[*events, *_ends(before, lasting, last_at, now)],
        reminders=reminders,
    )


def _ends(
    before: Mapping[str, float], lasting: Mapping[str, float], last_at: float, now: float
) -> Iterator[Event]:
    for key, since in before.items():
        kind, _, scope = key.partition("|")
        if key not in lasting and since + MATTERS_AFTER_S.get(kind, 0.0) <= last_at:
            text = f"{kind}: over after {now - since:.0f} s"
            yield _event(now, scope, f"{kind}_over", text, {})


def _is_due_again(due_at: float, last_at: float, now: float) -> bool:
    n_before, n_now = ((at - due_at) // RETRY_NOTICE_S for at in (last_at, now))
    return n_before < n_now and now - due_at < REPEAT_AFTER_S - RETRY_NOTICE_S


def _event(now: float, scope: str, kind: str, text: str, facts: Mapping[str, object]) -> Event:
    return Event(
        at=now, scope=scope, level="info0", kind=kind, message=text, facts=facts, actor=ACTOR
    )
