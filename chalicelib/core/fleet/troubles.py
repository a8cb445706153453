"""The one list of troubles: every way in which a group cannot serve, rent or return. Pure.

A round finds them (`services/rounds/journal/troubles.py`) and remembers them for as long as they
last (`RoundMemory.troubles`); health, status, explain, log and notice all read this one list, so
that none of them can say "ok" while another says why nothing is served. Each is told once when it
begins to matter, and its end is told once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from chalicelib.core.model.scopes import ACCOUNT_SCOPE, autogroup_scope, endpoint_scope


class TroubleKind(StrEnum):
    """What is wrong. The values are event kinds, notice kinds and anchors of docs/runbook.md."""

    # the account
    PANIC = "panic"
    INVENTORY_UNKNOWN = "inventory_unknown"
    STRAY_MACHINES = "stray_machines"
    ADOPTED_UNCONFIRMED = "adopted_unconfirmed"
    LABEL_CHANGED = "label_changed"
    NO_CREDIT = "no_credit"
    KEY_LACKS_RIGHT = "key_lacks_right"
    FOREIGN_VERSION = "foreign_version"
    ALERTS_UNHEARD = "alerts_unheard"
    REPORTS_MISSING = "reports_missing"  # of a group, too
    # a group
    CAP_REACHED = "cap_reached"
    WORKERS_CAPPED = "workers_capped"
    FROZEN = "frozen"
    FROZEN_ABOVE_CAP = "frozen_above_cap"
    MACHINE_UNSETTLED = "machine_unsettled"
    WILL_NOT_GO = "will_not_go"
    MACHINES_LOST = "machines_lost"
    NOT_USABLE = "not_usable"
    OVERBILLED = "overbilled"
    WORKER_FAILING = "worker_failing"
    REQUESTS_FAIL = "requests_fail"
    RENTALS_BRAKED = "rentals_braked"
    REQUESTS_WAIT = "requests_wait"
    # an autogroup
    CANNOT_LAUNCH = "cannot_launch"
    TEMPLATE_UNREADABLE = "template_unreadable"
    NO_OFFERS = "no_offers"
    OFFERS_REFUSED = "offers_refused"
    BIDS_REFUSED = "bids_refused"
    BREAKER_OPEN = "breaker_open"


class Severity(StrEnum):
    """BAD: clients may suffer or money is lost now; WARN: somebody should look soon."""

    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True, slots=True)
class TroubleMeaning:
    """How a kind of trouble is told.

    `title`: a notice's headline. `action`: what to do, where the trouble's own words do not say.
    `matters_after_s`: what often passes by itself is told only once it has lasted so long.
    """

    title: str
    action: str
    severity: Severity = Severity.BAD
    matters_after_s: float = 0.0


REMEMBERED_S = 600.0
"""What is absent for less adds up when it comes back (or for twice what makes its kind matter)."""
CALM_S = 300.0
"""What came back after its end was told is over only once it is absent for so long."""

_K, _W = TroubleKind, Severity.WARN

MEANINGS: Mapping[str, TroubleMeaning] = {
    _K.PANIC: TroubleMeaning(
        title="Panic: every instance is being destroyed",
        action="`ballast panic --clear` (on the page: End the panic) ends it",
    ),
    _K.INVENTORY_UNKNOWN: TroubleMeaning(
        title="Vast's list of instances cannot be trusted", matters_after_s=300.0, action="wait"
    ),
    _K.STRAY_MACHINES: TroubleMeaning(
        title="Instances carry our label but are not in our books",
        severity=_W,
        matters_after_s=300.0,
        action="what is left over: destroy it on Vast's page",
    ),
    _K.ADOPTED_UNCONFIRMED: TroubleMeaning(
        title="Machines were adopted by their labels and wait to be confirmed",
        severity=_W,
        action="`ballast adopt`",
    ),
    _K.LABEL_CHANGED: TroubleMeaning(
        title="Machines lost their label, and wait to be confirmed",
        severity=_W,
        matters_after_s=120.0,
        action="`ballast adopt`",
    ),
    _K.NO_CREDIT: TroubleMeaning(
        title="Vast rents the account nothing",
        action="pay in at Vast, or have its support raise the limit",
    ),
    _K.KEY_LACKS_RIGHT: TroubleMeaning(
        title="The Vast key may not do what is needed",
        action="make a key with these rights, then `ballast secret set VAST_API_KEY --stage STAGE`",
    ),
    _K.FOREIGN_VERSION: TroubleMeaning(
        title="Rows or groups were written by another version",
        severity=_W,
        matters_after_s=600.0,
        action="finish the deploy or the rollback, so that one version is left",
    ),
    _K.ALERTS_UNHEARD: TroubleMeaning(
        title="An alert reached nobody",
        severity=_W,
        action="`ballast notify list` shows who can be told",
    ),
    _K.REPORTS_MISSING: TroubleMeaning(
        title="No report comes from most workers",
        matters_after_s=60.0,
        action="look at the reports function: its errors, throttles and log",
    ),
    _K.CAP_REACHED: TroubleMeaning(
        title="A spending cap is reached", action="raise the cap, or wait"
    ),
    _K.WORKERS_CAPPED: TroubleMeaning(
        title="Requests wait, and max_workers is reached",
        severity=_W,
        matters_after_s=120.0,
        action="raise it to serve them sooner",
    ),
    _K.FROZEN: TroubleMeaning(
        title="Requests wait, and renting is frozen",
        severity=_W,
        matters_after_s=30.0,
        action="unfreeze it to serve them",
    ),
    _K.FROZEN_ABOVE_CAP: TroubleMeaning(
        title="Frozen above a spending cap: the spending goes on",
        action="unfreeze, raise the cap, or destroy",
    ),
    _K.MACHINE_UNSETTLED: TroubleMeaning(
        title="Nobody can say whether an instance is gone",
        severity=_W,
        matters_after_s=120.0,
        action="wait, or look for it on Vast's page",
    ),
    _K.WILL_NOT_GO: TroubleMeaning(
        title="An instance was told to go or to stop, and stays",
        matters_after_s=300.0,
        action="destroy it on Vast's page",
    ),
    _K.MACHINES_LOST: TroubleMeaning(
        title="Machines were lost while they served requests",
        action="clients whose stream broke must ask again",
    ),
    _K.NOT_USABLE: TroubleMeaning(
        title="A worker says that it is ready, and cannot be reached",
        severity=_W,
        matters_after_s=60.0,
        action="will be replaced",
    ),
    _K.OVERBILLED: TroubleMeaning(
        title="A machine bills far more than its offer said",
        severity=_W,
        action="ask Vast about the bill",
    ),
    _K.WORKER_FAILING: TroubleMeaning(
        title="A worker fails its requests, or does not reboot",
        severity=_W,
        action="nothing is to be done, unless it goes on from machine to machine",
    ),
    _K.REQUESTS_FAIL: TroubleMeaning(
        title="Most requests of a group fail, whoever serves them",
        matters_after_s=60.0,
        action="look at the requests, the model and its template",
    ),
    _K.RENTALS_BRAKED: TroubleMeaning(
        title="Machines are replaced too often: renting is braked",
        action="search for better hosts (reliability>0.98)",
    ),
    _K.REQUESTS_WAIT: TroubleMeaning(
        title="Requests wait, and no machine is on its way",
        matters_after_s=120.0,
        action="`ballast explain` of the group says more",
    ),
    _K.CANNOT_LAUNCH: TroubleMeaning(
        title="An autogroup cannot be launched as it is configured",
        action="or delete the autogroup",
    ),
    _K.TEMPLATE_UNREADABLE: TroubleMeaning(
        title="Vast does not say what an autogroup can rent",
        matters_after_s=60.0,
        action="it is asked again each round: wait",
    ),
    _K.NO_OFFERS: TroubleMeaning(
        title="No offer fits an autogroup's search",
        matters_after_s=60.0,
        action="widen search_params, or wait",
    ),
    _K.OFFERS_REFUSED: TroubleMeaning(
        title="Vast refuses to rent what it offers",
        matters_after_s=60.0,
        action="mend what Vast's words name",
    ),
    _K.BIDS_REFUSED: TroubleMeaning(
        title="No bid wins what Vast offers at it",
        severity=_W,
        matters_after_s=60.0,
        action="nothing is to be done: on demand is rented",
    ),
    _K.BREAKER_OPEN: TroubleMeaning(
        title="A template only fails: renting for it has stopped",
        action="mend the template, then give the autogroup its new hash",
    ),
}
"""One entry a kind; a test fails on a kind without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Something an owner should know, for as long as it lasts.

    `scope`: "account", "endpoint:ID" or "autogroup:ID". `message`: a sentence with the cause, and
    what happens next. `subject` tells two troubles of one kind and scope apart.
    """

    kind: TroubleKind
    scope: str
    message: str
    subject: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Under which it is remembered."""
        return f"{self.kind}|{self.scope}" + (f"|{self.subject}" if self.subject else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class LastingTrouble:
    """A trouble as it is remembered: since when (epoch seconds), and its newest words.

    `absent_since`: the first round that did not find it any more; 0 = the last round found it. One
    that comes and goes adds up: `since` moves on by the pauses, never to the newest coming.
    `is_told`: a round found that it matters, and told it, and has not told its end. `has_returned`:
    its end was told, and it came back soon: it is told once more, and its next end must last.
    """

    kind: str
    scope: str
    since: float
    message: str
    subject: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    absent_since: float = 0.0
    is_told: bool = False
    was_over: bool = False  # its end was told
    has_returned: bool = False

    @property
    def is_present(self) -> bool:
        """Whether the last round found it."""
        return self.absent_since <= 0.0

    @property
    def matters_at(self) -> float:
        """When it begins to matter: then it is told, and shows in health."""
        return self.since + matters_after_s(self.kind)

    @property
    def severity(self) -> Severity:
        """How bad it is; of a kind that this version does not know, WARN."""
        meaning = MEANINGS.get(self.kind)
        return meaning.severity if meaning else Severity.WARN

    @property
    def runbook(self) -> str:
        """The section of docs/runbook.md that says what to do."""
        return f"docs/runbook.md#{self.kind.replace('_', '-')}"


def with_action(trouble: Trouble) -> Trouble:
    """The trouble with what to do about it at the end of its words, if they do not say so yet."""
    action = MEANINGS[trouble.kind].action
    if action in trouble.message:
        return trouble
    return replace(trouble, message=f"{trouble.message}; {action}")


def matters_after_s(kind: str) -> float:
    """How long a trouble of this kind must last before it is told."""
    meaning = MEANINGS.get(kind)
    return meaning.matters_after_s if meaning else 0.0


def lasting(
    before: Mapping[str, LastingTrouble], found: Iterable[Trouble], now: float
) -> dict[str, LastingTrouble]:
    """What lasts after a round that found these troubles, by key: also what may only pause."""
    after = {trouble.key: _lasts(before.get(trouble.key), trouble, now) for trouble in found}
    for key, trouble in before.items():
        if key not in after and (pausing := _pauses(trouble, now)) is not None:
            after[key] = pausing
    return after


def present(troubles: Mapping[str, LastingTrouble], key: str) -> LastingTrouble | None:
    """The trouble of this key, if the last round found it."""
    trouble = troubles.get(key)
    return trouble if trouble is not None and trouble.is_present else None


def _lasts(before: LastingTrouble | None, found: Trouble, now: float) -> LastingTrouble:
    """A trouble that is found now; the pause that it made does not count as time that it lasted."""
    since, is_told, has_returned = now, False, False
    if before is not None:
        pause = 0.0 if before.is_present else max(now - before.absent_since, 0.0)
        since, is_told = min(before.since + pause, now), before.is_told
        has_returned = before.has_returned or before.was_over
    return LastingTrouble(
        kind=found.kind.value,
        scope=found.scope,
        subject=found.subject,
        since=since,
        message=found.message,
        facts=found.facts,
        is_told=is_told or since + matters_after_s(found.kind) <= now,
        has_returned=has_returned,
    )


def _pauses(before: LastingTrouble, now: float) -> LastingTrouble | None:
    """A trouble that is not found now, for as long as it is remembered."""
    absent_since = now if before.is_present else min(before.absent_since, now)
    absent_s = now - absent_since
    if absent_s >= max(REMEMBERED_S, 2.0 * matters_after_s(before.kind)):
        return None
    if before.is_told and (not before.has_returned or absent_s >= CALM_S):
        return replace(before, absent_since=absent_since, is_told=False, was_over=True)
    return replace(before, absent_since=absent_since)


def standing(
    troubles: Mapping[str, LastingTrouble],
    now: float,
    *,
    endpoint_id: int | None = None,
    autogroup_ids: Collection[int] = (),
) -> Sequence[LastingTrouble]:
    """The troubles that matter now: of the account, and of a group with its autogroups.

    Without `endpoint_id` all of them. Worst first, then oldest.
    """
    scopes = {
        ACCOUNT_SCOPE,
        endpoint_scope(endpoint_id or 0),
        *(autogroup_scope(i) for i in autogroup_ids),
    }
    matter = [
        trouble
        for trouble in troubles.values()
        if trouble.is_present
        and trouble.matters_at <= now
        and (endpoint_id is None or trouble.scope in scopes)
    ]
    return sorted(matter, key=lambda t: (t.severity is not Severity.BAD, t.since, t.scope, t.kind))


def begun_and_ended(
    before: Mapping[str, LastingTrouble], after: Mapping[str, LastingTrouble]
) -> Iterator[tuple[LastingTrouble, bool]]:
    """(trouble, whether it begins) of those that began to matter, or ended, from round to round.

    What ended before it mattered is told neither way; what comes and goes is told twice at most.
    """
    for key, trouble in after.items():
        if trouble.is_told and not (key in before and before[key].is_told):
            yield trouble, True
    for key, trouble in before.items():
        if trouble.is_told and not (key in after and after[key].is_told):
            yield trouble, False
