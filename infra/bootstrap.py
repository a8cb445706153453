"""First keys and caps of a deployment: idempotent, run by the deployer's own AWS identity."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from chalicelib import wiring
from chalicelib.services import keys

MICRO = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What the account may spend at Vast, in US dollars. Mandatory, small by default."""

    usd_per_hour: float = 5.0
    usd_per_day: float = 50.0
    usd_per_month: float = 500.0


def bootstrap(stage: str, caps: Caps | None, *, public_url: str = "") -> str | None:
    """Make pepper, signing key and, if there is none yet, the first admin key; set caps.

    Gives the admin key the first time, None ever after: it is stored nowhere. `caps` None leaves
    the caps as they are.

    Raises:
        PortError: DynamoDB or KMS cannot be used with these credentials.
    """
    os.environ.setdefault("BALLAST_STAGE", stage)
    ports = wiring.api_ports()
    now = ports.clock.now()
    ports.signer.newest()
    if caps is not None:
        ports.ledger.set_caps(
            {
                "caps_microusd_per_hour": round(caps.usd_per_hour * MICRO),
                "caps_microusd_per_day": round(caps.usd_per_day * MICRO),
                "caps_microusd_per_month": round(caps.usd_per_month * MICRO),
            }
        )
    if public_url:
        ports.ledger.set_public_url(public_url)
    return keys.first_admin_key(ports, now)


def main() -> None:
    """Make the first keys after a bare `chalice deploy`, and show the admin key once."""
    parser = argparse.ArgumentParser(prog="python -m infra.bootstrap", description=__doc__)
    parser.add_argument("--stage", default="dev")
    stage = parser.parse_args().stage
    key = bootstrap(stage, Caps())
    print(f"first admin key, shown once: {key}" if key else "there is an admin key already")


if __name__ == "__main__":
    main()
