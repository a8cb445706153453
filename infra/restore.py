"""`python -m infra.restore --stage prod`: claim our machines again after tables were lost.

Every machine we rented carries a token in its label that proves itself under the pepper. A round
of the scaler under the owner's brake (nothing is rented, stopped or destroyed) gives each a row
again; this command runs that round, and tells machine by machine what came of it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import wiring
from chalicelib.adapters.aws.secret_box import FORMER_ITEM, INTENT
from chalicelib.adapters.aws.tables import CONFIG, KEYS, LEDGER, TABLES, WORKERS, create_tables
from chalicelib.core.fleet.intents import label_name, split_label, token_is_ours
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.scopes import endpoint_scope
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.errors import PortError
from chalicelib.ports.ledger import Lease
from chalicelib.services.keys import hold_key
from chalicelib.services.owner.keys import MAX_TRAIL, unattested_keys
from chalicelib.services.rounds.round import run_round
from chalicelib.services.routing.views import publish_directory
from infra.account import in_full
from infra.stacks import Say

BACKED_UP = (CONFIG, WORKERS, LEDGER, KEYS)  # as infra/core.yaml has it
LEASE_S = 60.0
RETRY_S = 5.0
N_TRIES = 14  # longer than the lease of a loop that was killed


class RestoreError(Exception):
    """Nothing can be restored now; the message says why and what to do."""


class Standing(StrEnum):
    """How a machine stands to our tables."""

    KNOWN = "has its row"
    RESTORED = "got its row back"
    MISSING = "ours, and without a row"
    NO_GROUP = "ours, but its group is not configured"
    UNPROVEN = "labelled like ours, but its token does not prove it"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine whose label has the shape of ours."""

    instance_id: int
    label: str
    standing: Standing


def make_tables(dynamodb: Any, prefix: str, say: Say) -> None:
    """Create the lost tables, empty, and guard all as CloudFormation did; it never does so again.

    Raises:
        RestoreError: the groups or the keys are gone: they come from their backups, under the same
            names, before anything else.
    """
    pages = dynamodb.get_paginator("list_tables").paginate()
    existing = {name for page in pages for name in page["TableNames"]}
    lost = [t.full_name(prefix) for t in TABLES if t.full_name(prefix) not in existing]
    for table in (CONFIG, KEYS):
        if table.full_name(prefix) in lost:
            name = table.full_name(prefix)
            raise RestoreError(
                f"table {name} is gone: restore it first, docs/runbook.md#table-loss"
            )
    create_tables(dynamodb, prefix)
    for table in BACKED_UP:
        name = table.full_name(prefix)
        dynamodb.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
        dynamodb.update_table(TableName=name, DeletionProtectionEnabled=True)
    say(f"created: {', '.join(lost) or 'nothing'}; backups and protection are on")


def hold_keys(ports: ScalerPorts, say: Say) -> int:
    """Hold every key whose row is older than its last change, or nobody knows; how many are held.

    Groups' own keys have no rows: a generation that the trail knows to be higher is set again.
    """
    stale = unattested_keys(ports)
    for key in stale:
        if not key.is_held:
            hold_key(ports, key.key_id)
        say(f"key {key.key_id}  {key.name}  held: `ballast update key {key.key_id} --confirm`")
    for group in ports.groups.list_groups():
        generation = _last_key_generation(ports, group.endpoint_id)
        if generation is None:
            say(f"own key of {group.name}: no trail says whether it was rotated; if in doubt, "
                f"`ballast update endpoint {group.name!r} --rotate-key`")  # fmt: skip
        elif generation > group.key_generation:
            changed = replace(group, key_generation=generation, revision=group.revision + 1)
            ports.groups.put_group(changed, expected_revision=group.revision)
            say(f"own key of {group.name}: rotated since the backup, so the older one stays void")
    publish_directory(ports)
    return len(stale)


def _last_key_generation(ports: ScalerPorts, endpoint_id: int) -> int | None:
    """As the audit trail has it; None if it does not even tell that the group was made."""
    trail = ports.events.tail(
        endpoint_scope(endpoint_id), limit=MAX_TRAIL, kinds=frozenset({"changed_endpoint"})
    )
    values = [event.facts.get("after") for event in trail]
    found = [v.get("key_generation") for v in values if isinstance(v, Mapping)]
    generations = [value for value in found if isinstance(value, int)]
    return max(generations) if generations else None


def restore(ports: ScalerPorts, *, has_pepper: bool, dry_run: bool = False) -> Sequence[Machine]:
    """Give our machines their rows again; all machines labelled like ours, and how they stand.

    Without the pepper nothing can be proven, and nothing is changed: a human decides by label.

    Raises:
        RestoreError: Vast gives no complete list, or a scaling loop holds the lease.
        PortError: the tables or KMS do not answer.
    """
    listed = _labelled(ports)
    if not has_pepper:  # to ask for a proof would make a new pepper
        return [Machine(r.instance_id, r.label, Standing.UNPROVEN) for r in listed]
    before = _rows(ports)
    if not dry_run:
        _reconcile_frozen(ports)
    after = _rows(ports)
    return [Machine(r.instance_id, r.label, _standing(ports, r, before, after)) for r in listed]


def _labelled(ports: ScalerPorts) -> Sequence[InstanceRecord]:
    listing = ports.marketplace.list_instances()
    if not listing.is_complete:
        raise RestoreError(f"Vast gives no complete list ({listing.problem}); try again later")
    return [record for record in listing.instances if split_label(record.label)]


def _rows(ports: ScalerPorts) -> set[int]:
    groups = ports.groups.list_groups()
    return {w.instance_id for g in groups for w in ports.workers.list(g.endpoint_id)}


def _reconcile_frozen(ports: ScalerPorts) -> None:
    """One round with the brake on, and the routers' directory; then the brake as it was."""
    was_frozen = ports.ledger.account().is_frozen
    ports.ledger.set_flags(is_frozen=True)
    try:
        lease = _take_lease(ports)
        run_round(ports, lease.fence, lease.account)
        ports.ledger.release_lease(lease.fence)
        publish_directory(ports)
    finally:
        ports.ledger.set_flags(is_frozen=was_frozen)


def _take_lease(ports: ScalerPorts) -> Lease:
    for _ in range(N_TRIES):
        lease = ports.ledger.take_lease("restore", ports.clock.now(), LEASE_S)
        if lease is not None:
            return lease
        ports.clock.sleep(RETRY_S)
    raise RestoreError("a scaling loop is running and does the same work; run this again")


def _standing(
    ports: ScalerPorts, record: InstanceRecord, before: set[int], after: set[int]
) -> Standing:
    if record.instance_id in before:
        return Standing.KNOWN
    if record.instance_id in after:
        return Standing.RESTORED
    mac, label = ports.secrets.mac, split_label(record.label)
    names = {name for token, name in label.items() if token_is_ours(token, mac)}
    if not names:
        return Standing.UNPROVEN
    is_configured = not names.isdisjoint(label_name(g.name) for g in ports.groups.list_groups())
    return Standing.MISSING if is_configured else Standing.NO_GROUP


def pepper_exists(dynamodb: Any, prefix: str) -> bool:
    """Whether the table of keys still has the pepper of labels; never makes one.

    Raises:
        ClientError: the table cannot be read.
        RestoreError: there is none.
    """
    table = KEYS.full_name(prefix)
    keys = ({"key_id": {"S": f"pepper#{INTENT}"}}, FORMER_ITEM)
    try:
        replies: list[Mapping[str, object]] = [
            dynamodb.get_item(TableName=table, Key=key) for key in keys
        ]
    except dynamodb.exceptions.ResourceNotFoundException as error:
        raise RestoreError(
            f"there is no table {table} in this account and region: is the stage right? "
            "A lost one comes from its backup, docs/runbook.md#table-loss"
        ) from error
    return any("Item" in reply for reply in replies)


def report(machines: Sequence[Machine], *, has_pepper: bool, public_url: str, say: Say) -> bool:
    """Tell what came of it; whether nothing is left for a human."""
    for machine in machines:
        say(f"instance {machine.instance_id}  {machine.label}  {machine.standing}")
    left = [m for m in machines if m.standing not in (Standing.KNOWN, Standing.RESTORED)]
    if not has_pepper:
        say(
            "the pepper is lost: no token can be proven. Decide by label: destroy on Vast's page "
            "what is yours, then deploy; the new deployment rents anew"
        )
    elif any(m.standing is Standing.UNPROVEN for m in left):
        say("unproven: another deployment's, or rented under a pepper that is lost; left alone")
    if any(m.standing is Standing.NO_GROUP for m in left):
        say("no group: restore the table `config` to a point in time (ids matter), then run again")
    if has_pepper and not public_url:
        say(
            "the public URL is not known: run `make deploy STAGE=…` again, which also sets the caps"
        )
    return has_pepper and not left


def main() -> None:
    """Restore one stage with the owner's own AWS credentials and its Vast key."""
    parser = argparse.ArgumentParser(prog="python -m infra.restore", description=__doc__)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--dry-run", action="store_true", help="only tell how machines stand")
    parser.add_argument(
        "--make-tables",
        action="store_true",
        help="only create the lost tables, and hold the keys that may be older than they were",
    )
    given = parser.parse_args()
    os.environ["BALLAST_STAGE"], os.environ["BALLAST_ROLE"] = given.stage, "scaler"
    try:
        from chalicelib.adapters.aws.clients import dynamodb_client

        prefix = wiring.settings().table_prefix
        if given.make_tables:
            make_tables(dynamodb_client(), prefix, print)
            hold_keys(wiring.scaler_ports(), print)
            return
        has_pepper = pepper_exists(dynamodb_client(), prefix)
        ports = wiring.scaler_ports()
        if not given.dry_run:
            hold_keys(ports, print)
        machines = restore(ports, has_pepper=has_pepper, dry_run=given.dry_run)
        public_url = ports.public_url or ports.ledger.account().public_url
    except (RestoreError, PortError, ClientError, BotoCoreError) as error:
        sys.exit(f"error: {in_full(error)}")
    is_whole = report(machines, has_pepper=has_pepper, public_url=public_url, say=print)
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()
