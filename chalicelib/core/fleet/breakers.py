"""Breakers: hosts that fail are avoided for a while, templates that only fail stop being rented.

A failed boot blames its host (scaling.md 6). When a template fails on several hosts without
ever succeeding, the template is at fault: its breaker opens, and the hosts are forgiven. To be
ready is no success yet where others were, too, and soon failed for good: one must last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker, WorkerState

HOST_COOL_DOWN_S = 86_400.0  # after the first failed boot; doubles with each further one
# Chosen: a host that failed again and again is worth one try a month.
MAX_HOST_COOL_DOWN_S = 30 * 86_400.0
TEMPLATE_FAILURES = 3  # on different machines, with no success: the template is at fault
FIRST_PAUSE_S = 600.0  # of an open breaker; doubles each time the trial fails too
MAX_PAUSE_S = 86_400.0  # chosen: a template that only fails costs at most one boot a day
MAX_PAUSE_AFTER_SERVICE_S = 3_600.0  # what has served before fails for a while, not for good
LASTS_S = 3_600.0
"""Chosen: as long as an error is remembered (moves/repair.REBOOT_MEMORY_S). Who fails for good
within this of its first load was never of use; who is older than this has lasted."""
MAX_SHORT_LIVED = 10  # chosen: enough to tell different machines; the record stays small
MAX_REMEMBERED = 2_000  # chosen: far more hosts than a fleet meets in a month; bounds the memory
_MAX_ERROR_CHARS = 300  # chosen: a line of a notice


@dataclass(frozen=True, kw_only=True, slots=True)
class HostRecord:
    """A machine that failed to boot a worker."""

    n_failures: int
    avoided_until: float
    instance_id: int = 0  # whose failure counted last


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateRecord:
    """An autogroup's failed boots since its last success."""

    failed: Mapping[str, int] = field(default_factory=dict)  # instance id -> machine id
    n_openings: int = 0
    paused_until: float = 0.0
    last_error: str = ""
    revision: int = 1
    served_at: float = 0.0  # when a worker of this revision last became ready
    short_lived: Mapping[str, int] = field(default_factory=dict)  # as `failed`, until one lasts


@dataclass(frozen=True, kw_only=True, slots=True)
class Reputation:
    """Both records: hosts by machine id, templates by autogroup id (as text, for JSON)."""

    hosts: Mapping[str, HostRecord] = field(default_factory=dict)
    templates: Mapping[str, TemplateRecord] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Boot:
    """How one worker's first boot went; `is_failure` False: it became ready."""

    at: float
    instance_id: int
    autogroup_id: int
    machine_id: int
    template_revision: int
    is_failure: bool
    error: str = ""
    is_short_lived: bool = False  # it was ready, and failed for good within LASTS_S


def find_boots(
    workers: Iterable[Worker],
    stuck: Mapping[int, str],
    records: Mapping[int, InstanceRecord] = MappingProxyType({}),
) -> list[Boot]:
    """The boots that ended: loaded ones, those in error, and those given up (`stuck`: why).

    `records`: what Vast says of machines; of a load that never came it is all that is known.
    """
    boots = []
    for worker in workers:
        is_stuck = worker.instance_id in stuck
        has_failed = is_stuck or (not worker.loaded_at and worker.state is WorkerState.ERROR)
        if worker.loaded_at and not worker.url and not is_stuck:
            continue  # ready, but not usable: neither a success nor a failure yet
        if has_failed or worker.loaded_at:
            boots.append(
                Boot(
                    at=worker.state_since if has_failed else worker.loaded_at,
                    instance_id=worker.instance_id,
                    autogroup_id=worker.autogroup_id,
                    machine_id=worker.machine_id,
                    template_revision=worker.template_revision,
                    is_failure=has_failed,
                    error=worker.error or _why(worker, stuck, records),
                    is_short_lived=stuck.get(worker.instance_id) == "error_again"
                    and worker.loaded_at > 0.0
                    and worker.state_since - worker.loaded_at <= LASTS_S,
                )
            )
    return boots


def _why(worker: Worker, stuck: Mapping[int, str], records: Mapping[int, InstanceRecord]) -> str:
    code = stuck.get(worker.instance_id, "")
    record = records.get(worker.instance_id)
    return f"{code}; Vast says {record.said}" if code and record is not None else code


def judge(before: Reputation, boots: Iterable[Boot], now: float) -> Reputation:
    """The records after these boots; each counts once, however often it is seen."""
    hosts, templates = dict(before.hosts), dict(before.templates)
    for boot in boots:
        key, machine = str(boot.autogroup_id), str(boot.machine_id)
        template = _record_for(boot, templates)
        if boot.template_revision < template.revision:
            continue
        is_news = boot.at > template.served_at
        if not boot.is_failure:
            if template.short_lived and now - boot.at <= LASTS_S:
                served_at = max(boot.at, template.served_at)
                templates[key] = replace(template, failed={}, served_at=served_at)
            elif is_news or template.short_lived:
                served_at = max(boot.at, template.served_at)
                templates[key] = TemplateRecord(revision=template.revision, served_at=served_at)
        elif boot.is_short_lived:
            if str(boot.instance_id) not in template.short_lived:
                hosts[machine] = _with_failure(hosts.get(machine), boot, now)
                templates[key] = template = _failed_soon(template, boot, now)
            if template.paused_until > now:
                _forgive(hosts, template)
        elif str(boot.instance_id) not in template.failed:
            hosts[machine] = _with_failure(hosts.get(machine), boot, now)
            if is_news:
                templates[key] = template = _failed_once_more(template, boot, now)
            if template.paused_until > now:
                _forgive(hosts, template)
    return Reputation(hosts=_newest(hosts, now), templates=templates)


def avoided_machines(reputation: Reputation, now: float) -> frozenset[int]:
    """Machines on which nothing is rented now."""
    return frozenset(
        int(machine_id)
        for machine_id, record in reputation.hosts.items()
        if record.avoided_until > now
    )


def open_breakers(
    reputation: Reputation, booting: Iterable[int], revisions: Mapping[int, int], now: float
) -> frozenset[int]:
    """Autogroups for which nothing is rented now.

    After the pause one trial at a time is let through: `booting` names the autogroups that have a
    worker on its way. A changed template (`revisions`) starts with a clean record.
    """
    on_trial = frozenset(booting)
    found = set()
    for key, record in reputation.templates.items():
        autogroup_id = int(key)
        if not record.n_openings or revisions.get(autogroup_id, 0) > record.revision:
            continue
        if record.paused_until > now or autogroup_id in on_trial:
            found.add(autogroup_id)
    return frozenset(found)


def _record_for(boot: Boot, templates: Mapping[str, TemplateRecord]) -> TemplateRecord:
    """The record of the boot's revision, or of a newer one."""
    known = templates.get(str(boot.autogroup_id))
    if known is None or known.revision < boot.template_revision:
        return TemplateRecord(revision=boot.template_revision)
    return known


def _with_failure(record: HostRecord | None, boot: Boot, now: float) -> HostRecord:
    if record is not None and record.instance_id == boot.instance_id:
        return record
    n_failures = 1 if record is None else record.n_failures + 1
    pause_s = min(MAX_HOST_COOL_DOWN_S, HOST_COOL_DOWN_S * 2 ** min(n_failures - 1, 10))
    return HostRecord(
        n_failures=n_failures, avoided_until=now + pause_s, instance_id=boot.instance_id
    )


def _forgive(hosts: dict[str, HostRecord], template: TemplateRecord) -> None:
    for machine_id in (*template.failed.values(), *template.short_lived.values()):
        hosts.pop(str(machine_id), None)


def _failed_once_more(record: TemplateRecord, boot: Boot, now: float) -> TemplateRecord:
    failed = {**record.failed, str(boot.instance_id): boot.machine_id}
    record = replace(record, failed=failed, last_error=boot.error[:_MAX_ERROR_CHARS])
    return _opened(record, failed, now)


def _failed_soon(record: TemplateRecord, boot: Boot, now: float) -> TemplateRecord:
    newest = list(record.short_lived.items())[1 - MAX_SHORT_LIVED :]
    short_lived = {**dict(newest), str(boot.instance_id): boot.machine_id}
    error = boot.error[:_MAX_ERROR_CHARS]
    record = replace(record, short_lived=short_lived, last_error=error)
    return _opened(record, short_lived, now)


def _opened(record: TemplateRecord, failed: Mapping[str, int], now: float) -> TemplateRecord:
    """The record with its breaker open, if so many failures say so."""
    is_at_fault = len(set(failed.values())) >= TEMPLATE_FAILURES
    if not is_at_fault or record.paused_until > now:
        return record
    longest_s = MAX_PAUSE_AFTER_SERVICE_S if record.served_at else MAX_PAUSE_S
    pause_s = min(longest_s, FIRST_PAUSE_S * 2 ** min(record.n_openings, 10))
    return replace(record, n_openings=record.n_openings + 1, paused_until=now + pause_s)


def _newest(hosts: Mapping[str, HostRecord], now: float) -> dict[str, HostRecord]:
    """Cool-downs long over are forgotten, so that the memory stays small."""
    kept = {
        key: record
        for key, record in hosts.items()
        if record.avoided_until + MAX_HOST_COOL_DOWN_S > now
    }
    by_end = sorted(kept.items(), key=lambda item: item[1].avoided_until, reverse=True)
    return dict(by_end[:MAX_REMEMBERED])
