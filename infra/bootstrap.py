"""First keys and caps of a deployment: idempotent, run by the deployer's own AWS identity."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import wiring
from chalicelib.adapters.aws.clients import dynamodb_client, kms_client
from chalicelib.core.model.caller_key import VERBS
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import PortError
from chalicelib.services import keys
from chalicelib.services.owner.keys import record_deployers_key
from chalicelib.services.routing.views import publish_directory
from infra.account import in_full
from infra.peppers import make_peppers, take_over_former_keys
from infra.policies import signer_of

MICRO = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What the account may spend at Vast, in US dollars; None leaves a cap as it is."""

    usd_per_hour: float | None = None
    usd_per_day: float | None = None
    usd_per_month: float | None = None


FIRST_CAPS = Caps(usd_per_hour=5.0, usd_per_day=50.0, usd_per_month=500.0)
"""Of a new deployment, for whatever its owner does not say."""


def with_first_caps(caps: Caps) -> Caps:
    """The caps with small defaults for those that are not given."""
    given = {name: value for name, value in asdict(caps).items() if value is not None}
    return replace(FIRST_CAPS, **given)


def ports_of(stage: str) -> ApiPorts:
    """Ports on a stage's tables and with its signer, whatever stage the environment names."""
    if os.environ.get("BALLAST_STAGE") != stage:
        os.environ |= {"BALLAST_STAGE": stage, "BALLAST_SIGNER": signer_of(stage)}
        wiring.reset()
    return wiring.api_ports()


def make_secrets(stage: str) -> int:
    """Make what is missing of the secrets of each purpose; how many former keys were taken over.

    Raises:
        PortError: DynamoDB or KMS cannot be used with these credentials.
    """
    ports, settings = ports_of(stage), wiring.settings()
    make_peppers(ports)
    prefix, alias = settings.table_prefix, settings.kms_alias
    return take_over_former_keys(ports, dynamodb_client(), kms_client(), prefix, alias)


def bootstrap(
    stage: str,
    caps: Caps,
    *,
    complete: Callable[[Caps], Caps] = with_first_caps,
    public_url: str = "",
    n_lanes: int = 0,
) -> str | None:
    """Make the secrets, a signing key and, if there is none yet, the first admin key; set caps.

    Gives the admin key the first time, None ever after: it is stored nowhere. `complete` fills in
    the caps of a new deployment; later on, those that are not given stay as the owner set them.
    `n_lanes`: of the edge at that address (infra/lanes.py).

    Raises:
        PortError: DynamoDB or KMS cannot be used with these credentials.
    """
    ports = ports_of(stage)
    now = ports.clock.now()
    make_secrets(stage)
    ports.signer.newest(now)
    is_new = not ports.ledger.account().version
    wanted = asdict(complete(caps) if is_new else caps)
    amounts = {
        f"caps_micro{name}": round(usd * MICRO) for name, usd in wanted.items() if usd is not None
    }
    if amounts:
        ports.ledger.set_caps(amounts)
    if public_url:
        ports.ledger.set_public_url(public_url, n_lanes)
    return keys.first_admin_key(ports, now, note=partial(record_deployers_key, ports))


def renew_directory(stage: str) -> None:
    """Tell the routers of all groups in this version's form: an older one may have written it."""
    publish_directory(ports_of(stage))


def remember_topic(stage: str, arn: str) -> None:
    """Keep the alert topic's address where no deployment of code loses it."""
    ports_of(stage).receivers.remember_topic(arn)


def main(arguments: list[str] | None = None) -> None:
    """Make the first keys after a bare `chalice deploy`, or new ones for lost or stolen ones."""
    parser = argparse.ArgumentParser(prog="python -m infra.bootstrap", description=__doc__)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--new-admin-key", action="store_true", help="one more, with all rights")
    parser.add_argument(
        "--rotate-signing-key", action="store_true", help="for instances from now on"
    )
    given = parser.parse_args(arguments)
    try:
        _make_keys(given)
    except (PortError, ClientError, BotoCoreError) as error:
        sys.exit(f"error: {in_full(error)}")


def _make_keys(given: argparse.Namespace) -> None:
    key = bootstrap(given.stage, Caps())
    ports = ports_of(given.stage)
    if key is None and given.new_admin_key:
        note = partial(record_deployers_key, ports)
        key, _ = keys.issue_key(ports, name="admin, made at AWS", verbs=VERBS, note=note)
    print(f"admin key, shown once: {key}" if key else "there is an admin key already")
    if given.rotate_signing_key:
        made = ports.signer.create_key(ports.clock.now())
        print(f"signing key {made.key_id}: running workers keep theirs until they are replaced")


if __name__ == "__main__":
    main()
