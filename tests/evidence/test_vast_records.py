"""The adapter against every recorded answer: what it is taken for, and what is read from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.errors import NO_CREDIT, RULES, refusal
from chalicelib.adapters.vast.http import VastAnswer
from chalicelib.adapters.vast.listing import DoubtError, ListingBuilder
from chalicelib.adapters.vast.rows import parse_instance
from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.marketplace import (
    KEY_REFUSED,
    NOT_THERE,
    AmbiguousCreateError,
    MarketplaceError,
    MarketplaceUnavailableError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)
from tests.adapters.vast_transport import CREATE, Transport, adapter
from tests.evidence.vast_records import KINDS, Record, count_table, load_records

RECORDS = load_records()
NOW = 1_784_930_000.0  # some minutes before the reset time that one record carries

VERBS: dict[str, Verb] = {
    "create": Verb.CREATE, "search": Verb.SEARCH, "list": Verb.LIST, "show": Verb.SHOW,
    "state": Verb.START, "destroy": Verb.DESTROY, "reboot": Verb.REBOOT, "logs": Verb.LOGS,
    "template": Verb.TEMPLATE, "credit": Verb.CREDIT, "bid": Verb.START,
}  # fmt: skip
CALLS: dict[str, Callable[[VastMarketplace], Any]] = {
    "create": lambda vast: vast.create_instance(CREATE),
    "search": lambda vast: vast.search_offers({}, disk_gb=8.0, limit=64),
    "show": lambda vast: vast.find_instance(7),
    "state": lambda vast: vast.start_instance(7),
    "destroy": lambda vast: vast.destroy_instances([7]),
    "reboot": lambda vast: vast.reboot_instance(7),
    "logs": lambda vast: vast.instance_logs(7),
    "credit": lambda vast: vast.account_credit_usd(),
}


def ask(record: Record, status: int) -> Any:
    """What the adapter makes of an answer, over its own transport."""
    return CALLS[record.call](adapter(Transport(VastAnswer(status, record.text, record.headers))))


def error_of(record: Record, status: int) -> Any:
    """The error that the answer stands for by the table."""
    return refusal(VERBS[record.call], status, record.text, NOW, record.headers)


def is_refused_with(code: str | None) -> Callable[[Record, int], None]:
    """A check: a stated refusal with this code, or the record's own."""

    def check(record: Record, status: int) -> None:
        error = error_of(record, status)
        assert isinstance(error, RefusedError)
        assert error.code == (code or record.reads["code"])

    return check


def is_rented(record: Record, status: int) -> None:
    """The contract is named."""
    assert ask(record, status) == record.reads["contract"]


def is_ambiguous(record: Record, status: int) -> None:
    """It may be rented; the contract is named if Vast did."""
    with pytest.raises(AmbiguousCreateError) as caught:
        ask(record, status)
    assert caught.value.contract_id == record.reads.get("contract")


def is_gone(record: Record, status: int) -> None:
    """The next offer is to be tried."""
    with pytest.raises(OfferGoneError):
        ask(record, status)


def is_limited(record: Record, status: int) -> None:
    """The wait is the one that was told, or the verb's own."""
    error = error_of(record, status)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == record.reads["retry_after_s"]


def is_used_up(record: Record, status: int) -> None:
    """The wait ends when the server says."""
    error = error_of(record, status)
    assert isinstance(error, RateLimitedError)
    assert NOW + error.retry_after_s == record.reads["until"]


def is_unknown(record: Record, status: int) -> None:
    """Nothing is known after it."""
    if record.call == "list":
        listing = adapter(Transport(VastAnswer(status, record.text))).list_instances()
        assert not listing.is_complete
        assert "Unavailable" in listing.problem
        return
    with pytest.raises(MarketplaceUnavailableError):
        ask(record, status)


def offers(record: Record, status: int) -> None:
    """So many offers can be used, and the others are counted by what they lack."""
    found = ask(record, status)
    assert len(found) == record.reads["usable"]
    assert len(found) + sum(found.left_out.values()) == record.reads["rows"]
    assert found.left_out == record.reads.get("left_out", {})
    assert all(offer.usd_per_hour > 0 and offer.storage_usd_per_hour >= 0 for offer in found)


def page(record: Record, _status: int) -> None:
    """These instances, this total, this token."""
    builder = ListingBuilder(NOW)
    builder.add_page(record.body)
    found = builder.incomplete(NOW, "").instances
    assert [row.instance_id for row in found] == record.reads["ids"]
    assert builder.next_token == record.reads["next"]


def is_doubtful(record: Record, _status: int) -> None:
    """A page that cannot be believed says why."""
    with pytest.raises(DoubtError, match=record.reads["problem"]):
        ListingBuilder(NOW).add_page(record.body)


def instance(record: Record, _status: int) -> None:
    """These members of the row, whatever the others are."""
    row = parse_instance(record.body["instances"])
    wanted = {("instance_id" if k == "id" else k): v for k, v in record.reads.items()}
    assert {name: getattr(row, name) for name in wanted} == wanted


def is_absent(record: Record, status: int) -> None:
    """What was asked for does not exist."""
    if record.call == "template":
        transport = Transport(VastAnswer(status, record.text))
        assert adapter(transport).find_template("abc") is None
    elif record.call == "show":
        assert ask(record, status) is None
    else:
        is_refused_with(NOT_THERE)(record, status)


def is_done(record: Record, status: int) -> None:
    """A success."""
    assert error_of(record, status) is None


def logs(record: Record, status: int) -> None:
    """The log is fetched from where the answer says, without the key."""
    transport = Transport(VastAnswer(status, record.text), VastAnswer(200, "hello"))
    assert adapter(transport).instance_logs(7) == "hello"
    assert transport.requests[-1].url == record.body["result_url"]
    assert not transport.requests[-1].api_key


def log_is_awaited(record: Record, status: int) -> None:
    """The log's own place answers so until it is there."""
    place = '{"success": true, "result_url": "https://s3.example/x.log"}'
    transport = Transport(
        VastAnswer(200, place), VastAnswer(status, record.text), VastAnswer(200, "late")
    )
    assert adapter(transport).instance_logs(7) == "late"


def template(record: Record, status: int) -> None:
    """Hash, disk and each variable of the environment."""
    transport = Transport(VastAnswer(status, record.text))
    found = adapter(transport).find_template(record.reads["hash_id"])
    assert found is not None
    assert found.disk_gb == record.reads["disk_gb"]
    for name, value in record.reads["env"].items():
        assert f"{name}={value}" in found.env


def credit(record: Record, status: int) -> None:
    """Dollars, also below zero."""
    assert ask(record, status) == record.reads["usd"]


def is_understood(record: Record, status: int) -> None:
    """What a first contact brought home, without a meaning yet: some error of ours, or none."""
    error = error_of(record, status)
    assert error is None or isinstance(error, MarketplaceError)


CHECKS: dict[str, Callable[[Record, int], None]] = {
    "rented": is_rented, "ambiguous": is_ambiguous, "offer_gone": is_gone,
    "refused": is_refused_with(None), "no_credit": is_refused_with(NO_CREDIT),
    "key_refused": is_refused_with(KEY_REFUSED), "queued": is_refused_with("resources_unavailable"),
    "rate_limited": is_limited, "quota": is_used_up, "unavailable": is_unknown, "offers": offers,
    "page": page, "doubt": is_doubtful, "instance": instance, "not_there": is_absent,
    "done": is_done, "logs": logs, "logs_not_ready": log_is_awaited, "template": template,
    "credit": credit, "seen": is_understood,
}  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_every_record_is_taken_for_what_it_is(record: Record) -> None:
    """A record whose call or meaning no check knows fails here: none lies about unused."""
    assert record.call in VERBS
    for status in record.statuses:
        CHECKS[record.means](record, status)


def test_records_name_their_sources() -> None:
    """Repository, path or issue, date; at least ten repositories; ids only once."""
    assert len({record.id for record in RECORDS}) == len(RECORDS)
    repositories = set()
    for record in RECORDS:
        source = record.source
        assert re.fullmatch(
            r"[\w.-]+/[\w.-]+|[\w .-]+\(PyPI\)|a first contact", source["repository"]
        )
        assert source.get("path") or re.fullmatch(r"#[0-9]+", source["issue"])
        assert re.fullmatch(r"20[0-9]{2}-[0-9]{2}(-[0-9]{2})?", source["date"])
        assert record.kind in KINDS
        repositories.add(source["repository"])
    assert len(repositories) >= 10
    assert len(RECORDS) >= 100


def test_records_carry_nothing_personal() -> None:
    """No address that is routed, no e-mail but the documents' own, no key."""
    text = "\n".join(record.text for record in RECORDS)
    addresses = set(re.findall(r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b", text))
    assert {
        a for a in addresses if not a.startswith(("203.0.113.", "0.0.0.0", "10.", "172.17."))
    } <= {a for a in addresses if a.startswith(("570.", "575.", "550.", "535."))}
    assert {m for m in re.findall(r"[\w.]+@[\w.]+", text)} <= {"you@example.com"}
    assert not re.search(r"\b[0-9a-f]{48,}\b", text)


def test_every_line_of_the_table_has_its_evidence() -> None:
    """The records that a rule names exist, and say what the rule says."""
    by_id = {record.id: record for record in RECORDS}
    for rule in RULES:
        assert rule.evidence
        for name in rule.evidence:
            record = by_id[name]
            said = record.text.lower()
            assert all(rule.applies(VERBS[record.call], status, said) for status in record.statuses)


def test_the_count_counts_each_record_once() -> None:
    """By source and by call; two sources at least for every call."""
    *rows, totals, _kinds = count_table(RECORDS).splitlines()
    assert totals.split()[-1] == str(len(RECORDS))
    assert sum(int(row.split()[-1]) for row in rows[1:]) == len(RECORDS)
    for call in VERBS:
        sources = {record.source["repository"] for record in RECORDS if record.call == call}
        assert len(sources) >= 2, f"{call}: one source alone: {sources}"
