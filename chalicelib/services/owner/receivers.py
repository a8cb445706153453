"""Who is told of trouble: the owner's receivers, whether they were reached, and a test of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from chalicelib.core.fleet.safe_url import UnsafeUrlError, check_webhook_url
from chalicelib.core.model.scopes import ACCOUNT_SCOPE
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.clock import Clock
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.ports.event_log import Event, EventLog
from chalicelib.ports.notifier import CHANNELS, Notice, NotifierError, Receiver, Receivers
from chalicelib.services.keys import Caller
from chalicelib.services.owner.audit import Change, record_change
from chalicelib.wire.json_body import WireError

MAX_RECEIVERS: Final = 20
TEST_KIND: Final = "test"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")
_MAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_OUTCOMES = frozenset({"notified", "notification_failed"})

Row = dict[str, object]


class DeliveryPorts(Protocol):
    """What delivering needs of a bundle."""

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def events(self) -> EventLog:
        """Where outcomes are kept."""
        ...

    @property
    def receivers(self) -> Receivers:
        """Who is told."""
        ...


def parse_receiver(body: Mapping[str, Any]) -> Receiver:
    """A receiver from a request's body.

    Raises:
        WireError: naming the field, its value and what is allowed.
    """
    unknown = sorted(set(body) - {"name", "channel", "address"})
    if unknown:
        raise WireError(f"{unknown[0]}: unknown field; allowed: name, channel, address")
    channel, address = body.get("channel"), body.get("address")
    if channel not in CHANNELS:
        raise WireError(f"channel: {channel!r}; allowed: {', '.join(CHANNELS)}")
    if not isinstance(address, str):
        raise WireError("address: missing; give an e-mail address or an https URL as text")
    if channel == "email":
        if not _MAIL.fullmatch(address) or len(address) > 254:
            raise WireError(f"address: {address[:80]!r} is no e-mail address")
        return Receiver(name=address, channel="email", address=address, is_confirmed=False)
    try:
        check_webhook_url(address)
    except UnsafeUrlError as error:
        raise WireError(f"address: {error}") from error
    name = body.get("name", channel)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise WireError(f"name: {name!r}; allowed: letters, digits and _.@+-, at most 100")
    return Receiver(name=name, channel=str(channel), address=address)


def add_receiver(ports: ApiPorts, caller: Caller, receiver: Receiver) -> Row:
    """Keep a receiver; an e-mail address gets a message from AWS that its owner must confirm.

    Raises:
        ConflictError: too many, or this deployment cannot reach such an address.
    """
    known = ports.receivers.receivers()
    if len(known) >= MAX_RECEIVERS and receiver.name not in {one.name for one in known}:
        raise ConflictError(f"there are {len(known)} already, as many as may be: remove one first")
    try:
        ports.receivers.add(receiver)
    except NotifierError as error:
        raise ConflictError(str(error)) from error
    _audit(ports, caller, receiver.name, {}, {"channel": receiver.channel})
    return receiver_row(receiver, None)


def remove_receiver(ports: ApiPorts, caller: Caller, name: str) -> None:
    """Forget a receiver.

    Raises:
        NotFoundError: there is none of this name that can be removed.
    """
    known = {one.name: one for one in ports.receivers.receivers()}
    if not ports.receivers.remove(name):
        if name in known:
            raise NotFoundError(
                f"{name} was never confirmed, and AWS forgets it by itself after three days"
            )
        raise NotFoundError(f"no receiver {name!r}; there are: {', '.join(known) or 'none'}")
    _audit(ports, caller, name, {"channel": known[name].channel}, {})


def _audit(
    ports: ApiPorts, caller: Caller, name: str, before: Row, after: Row
) -> None:  # never the address: a webhook's URL is its key
    verb = "added" if after else "removed"
    change = Change(
        kind="changed_account",
        scopes=(ACCOUNT_SCOPE,),
        message=f"Receiver {name} {verb}",
        before=before,
        after=after,
    )
    record_change(ports.events, change, actor=caller.key_id, at=ports.clock.now())


def receiver_rows(ports: ApiPorts) -> list[Row]:
    """Each receiver with what became of the last notice to it."""
    events = ports.events.tail(ACCOUNT_SCOPE, limit=100, kinds=_OUTCOMES)
    last = {str(event.facts.get("by")): event for event in events}
    return [
        receiver_row(one, last.get("owner" if one.channel == "email" else one.name))
        for one in ports.receivers.receivers()
    ]


def receiver_row(receiver: Receiver, last: Event | None) -> Row:
    """A receiver as people see it: of a URL the host alone."""
    address = receiver.address
    is_mail = receiver.channel == "email"
    shown = address if is_mail else f"https://{check_webhook_url(address).host}/…"
    if not receiver.is_confirmed:
        state = "pending"
    elif last is None:
        state = "confirmed" if is_mail else "untested"
    else:
        state = "delivered" if last.kind == "notified" else "failed"
    return {
        "name": receiver.name,
        "channel": receiver.channel,
        "address": shown,
        "state": state,
        "at": last.at if last and receiver.is_confirmed else None,
        "detail": last.message if last and state == "failed" else "",
    }


def send_test(ports: ApiPorts, caller: Caller) -> Row:
    """Send a test notice the way an alarm goes; outcomes appear in `receiver_rows`.

    Raises:
        ConflictError: nobody is there to be told, or AWS did not take it.
    """
    if not ports.receivers.receivers():
        raise ConflictError(
            "there is no receiver; `ballast notify add email you@example.com` makes one"
        )
    now = ports.clock.now()
    notice = Notice(
        at=now,
        kind=TEST_KIND,
        scope=ACCOUNT_SCOPE,
        title="a test of who is told",
        text=f"Somebody ran `ballast notify test` (key {caller.key_id}). Nothing is wrong.",
        runbook="",
    )
    try:
        if ports.receivers.topic():
            ports.receivers.publish(notice)
            _remember(ports, notice, "owner", "")
        else:
            deliver_to_all(ports, [notice])
    except NotifierError as error:
        raise ConflictError(str(error)) from error
    return {"sent_at": now}


def deliver_to_all(ports: DeliveryPorts, notices: Sequence[Notice]) -> dict[str, str]:
    """Post notices to every receiver that is no e-mail address; gives the problems by name."""
    others = [one for one in ports.receivers.receivers() if one.channel != "email"]
    problems: dict[str, str] = {}  # the topic mails
    for name, outcomes in ports.receivers.deliver(others, notices).items():
        for notice, problem in zip(notices, outcomes, strict=True):
            _remember(ports, notice, name, problem)
            if problem:
                problems[name] = problem
    return problems


def _remember(ports: DeliveryPorts, notice: Notice, by: str, problem: str) -> None:
    told = f"Could not tell the owner: {problem}" if problem else "Told the owner"
    event = Event(
        at=ports.clock.now(),
        scope=ACCOUNT_SCOPE,
        level="info1",
        kind="notification_failed" if problem else "notified",
        message=f"{told} ({by}: {notice.kind})",
        facts={"kind": notice.kind, "by": by},
        actor="notifier",
    )
    ports.events.append([event])


def _own_notice(value: object) -> Notice | None:
    """A notice as our scaler hands it to the topic; None for no such thing, or another version's.

    Of that one the mail's text is told.
    """
    try:
        document = json.loads(str(value))
        return Notice(
            at=float(document["at"]),
            kind=str(document["kind"]),
            scope=str(document["scope"]),
            title=str(document["title"]),
            text=str(document["message"]),
            runbook=str(document["runbook"]),
            facts=document.get("facts") or {},
        )
    except (KeyError, TypeError, ValueError):
        return None


def notice_of_record(record: Mapping[str, Any], now: float) -> Notice | None:
    """A notice from what SNS hands a function: one of ours, or an alarm of CloudWatch.

    None for an alarm that was just made and finds all well: it was never on, so nothing is over.
    """
    message = str(record.get("Message", ""))
    attributes = record.get("MessageAttributes") or {}
    if ours := _own_notice(attributes.get("notice", {}).get("Value")):
        return ours
    try:
        alarm = json.loads(message)
    except ValueError:
        alarm = {}
    if not isinstance(alarm, Mapping) or "AlarmName" not in alarm:
        title = str(record.get("Subject") or "a message on the alert topic")
        return Notice(
            at=now, kind="message", scope=ACCOUNT_SCOPE, title=title, text=message, runbook=""
        )
    text, _, runbook = str(alarm.get("AlarmDescription", "")).partition(" See ")
    state = str(alarm.get("NewStateValue", ""))
    if state == "OK" and alarm.get("OldStateValue") == "INSUFFICIENT_DATA":
        return None
    over = {"OK": "is over", "ALARM": "has fired", "INSUFFICIENT_DATA": "has no data"}
    return Notice(
        at=now,
        kind="alarm",
        scope=ACCOUNT_SCOPE,
        title=f"alarm {alarm['AlarmName']} {over.get(state, state)}",
        text=f"{text} {alarm.get('NewStateReason', '')}".strip(),
        runbook=runbook.rstrip("."),
        facts={"state": state, "region": str(alarm.get("Region", ""))},
    )
