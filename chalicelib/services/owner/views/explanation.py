"""Why: a worker's story, and a round's decisions, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.core.fleet import loading
from chalicelib.core.fleet.troubles import LastingTrouble
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.scopes import endpoint_scope
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.scaling.reasons import DOING, explain
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.ports.event_log import Event
from chalicelib.services.keys import Caller
from chalicelib.services.owner.facts import read_memory, standing_troubles, trouble_row
from chalicelib.services.owner.groups import list_groups
from chalicelib.services.owner.views.health import MENDED, in_error
from chalicelib.services.owner.views.observability import event_row, has_cause

Row = dict[str, object]

DECISION = "decision"
MAX_EVENTS = 2_000
SHOWN_EVENTS = 50
LAST = "last"
RENTED_WITHIN_S = 300.0  # a rental that takes longer is given up


def explain_worker(ports: ApiPorts, caller: Caller, instance_id: int) -> Row:
    """Where a worker is in its life, and every decision about it that is still kept.

    Raises:
        NotFoundError: no such worker, now or in the kept events, within the key's scope.
    """
    now = ports.clock.now()
    for group in list_groups(ports, caller):
        worker = ports.workers.find(group.endpoint_id, instance_id)
        scope = endpoint_scope(group.endpoint_id)
        events = [
            event
            for event in ports.events.tail(scope, limit=MAX_EVENTS)
            if event.facts.get("instance_id") == instance_id or _is_rental_of(event, worker)
        ]
        if worker is None and not events:
            continue
        sentences = [_state_sentence(worker, now)] if worker else ["It is gone."]
        decisions = [e for e in events if e.kind == DECISION or "reason" in e.facts]
        sentences += [_decision_sentence(event) for event in reversed(decisions)]
        about = [one for one in _troubles(ports, group, now) if one.subject == str(instance_id)]
        subject = f"worker {instance_id} of {group.name}"
        return _answer(subject, sentences, decisions, events, about)
    raise NotFoundError(f"no worker {instance_id}")


def explain_round(ports: ApiPorts, caller: Caller, round_id: str, endpoint_id: int | None) -> Row:
    """What a round decided, and why; `round_id` is "last", a round's id, or an event's id.

    The last one is the newest with a cause of its own, not one that just ended what another began;
    with it comes what stands in the way now, also where nothing could be decided.

    Raises:
        NotFoundError: no decision of that round is kept within the key's scope.
    """
    kinds = frozenset({DECISION})
    decisions: list[Event] = []
    troubles: dict[str, LastingTrouble] = {}  # by what tells them apart: the account's come twice
    ill: list[str] = []
    for group in list_groups(ports, caller):
        if endpoint_id in (None, group.endpoint_id):
            scope = endpoint_scope(group.endpoint_id)
            decisions += ports.events.tail(scope, limit=MAX_EVENTS, kinds=kinds)
            if round_id == LAST:
                for one in _troubles(ports, group, ports.clock.now()):
                    troubles[f"{one.kind}|{one.scope}|{one.subject}"] = one
                ill += _in_error(ports, group)
    decisions.sort(key=lambda event: event.at)
    if not decisions and (troubles or ill):
        return _answer("no round yet", ill, [], [], list(troubles.values()))
    if not decisions:
        raise NotFoundError("no decision is kept yet, and nothing stands in the way of one")
    caused = [one for one in decisions if has_cause(one)] or decisions
    wanted = _round_of(caused[-1]) if round_id == LAST else round_id
    chosen = [e for e in decisions if wanted in (_round_of(e), e.event_id)]
    if not chosen:
        raise NotFoundError(f"no decision of round {round_id[:80]!r} is kept")
    sentences = [*(_decision_sentence(event) for event in chosen), *ill]
    return _answer(f"round {wanted}", sentences, chosen, chosen, list(troubles.values()))


def _troubles(ports: ApiPorts, group: EndpointGroup, now: float) -> Sequence[LastingTrouble]:
    autogroups = ports.groups.list_autogroups(group.endpoint_id)
    return standing_troubles(read_memory(ports), group, autogroups, now)


def _in_error(ports: ApiPorts, group: EndpointGroup) -> list[str]:
    """A sentence on the group's workers that are, as health has it; none if there are none."""
    workers = ports.workers.list(group.endpoint_id)
    said = [worker.error for worker in workers if worker.state is WorkerState.ERROR]
    if not said:
        return []
    words = in_error(len(said), next(filter(None, said), "")[:200])
    return [f"In the way now: {group.name}: {words}."]


def _is_rental_of(event: Event, worker: Worker | None) -> bool:
    """Whether this decided to rent the worker: it cannot name an instance that did not exist."""
    offer = event.facts.get("offer")
    if worker is None or event.kind != DECISION or not isinstance(offer, Mapping):
        return False
    since_s = worker.created_at - event.at
    return offer.get("machine_id") == worker.machine_id and -1.0 <= since_s <= RENTED_WITHIN_S


def _answer(
    subject: str,
    sentences: list[str],
    decisions: Sequence[Event],
    events: Sequence[Event],
    troubles: Sequence[LastingTrouble],
) -> Row:
    last = decisions[-1] if decisions else None
    return {
        "subject": subject,
        "sentences": [*sentences, *(f"In the way now: {one.message}." for one in troubles)],
        "troubles": [trouble_row(one) for one in troubles],
        "decision": event_row(last) if last else None,
        "candidates": _beaten(last) if last else [],
        "events": [event_row(event) for event in reversed(events[-SHOWN_EVENTS:])],
    }


def _round_of(event: Event) -> str:
    """The id of an event's round; an event without one is a round of its own."""
    return str(event.facts.get("round") or event.event_id)


def _state_sentence(worker: Worker, now: float) -> str:
    kind = worker.gpu_type
    text = (
        f"It is a {kind} at ${worker.usd_per_hour:.3f} an hour, {worker.state.value} for "
        f"{max(0.0, now - worker.state_since):.0f} s."
    )
    if worker.cache is not None and worker.state.is_answering:
        text += (
            f" It found {worker.cache.hit_share:.0%} of its prompts' tokens in its cache lately."
        )
    for what, packed in (("first load", worker.first_load), ("last start", worker.last_start)):
        if parts := loading.unpack(packed):
            text += f" Its {what} took {loading.sentence(parts)}."
    if worker.error:
        text += f" It reports: {worker.error[:200]}."
    return f"{text} It is {MENDED}." if worker.state is WorkerState.ERROR else text


def _decision_sentence(event: Event) -> str:
    """The action, then its reason."""
    reason = event.facts.get("reason")
    if not isinstance(reason, Mapping):
        return event.message
    if event.facts.get("not_done"):  # as it was told: it was decided, and came to nothing
        return event.message
    action = str(event.facts.get("action", "none"))
    target = event.facts.get("subject") or event.facts.get("instance_id", "")
    facts = reason.get("facts")
    why = explain(str(reason.get("code", "")), facts if isinstance(facts, Mapping) else {})
    return why if action == "none" else f"{DOING.get(action, action)} {target}: {why}"


def _beaten(event: Event) -> list[str]:
    reason = event.facts.get("reason")
    beaten = reason.get("beaten") if isinstance(reason, Mapping) else None
    return [str(text) for text in beaten] if isinstance(beaten, list | tuple) else []
