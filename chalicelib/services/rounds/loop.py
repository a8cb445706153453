"""The scaler's inner loop: rounds every few seconds while anything moves, one when nothing does.

The schedule starts it each minute and pokes start it at once; the lease lets one run at a time, and
it ends well before the Lambda's own time-out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.errors import NotDeployedError, PortError
from chalicelib.ports.ledger import Account, FencedError
from chalicelib.services.rounds.round import WAITS_S, run_round

LEASE_S = 60.0  # longer than any round; a killed loop holds it no longer than this
ROUND_RESERVE_S = 8.0  # a round needs this beyond its waiting for turns
LISTED_RESERVE_S = 3.0
"""Of a round, after its listing: to decide, to write and to order, with no wait for turns. Between
two loops nobody lists, and a thousand machines take 68 s of pages."""
_LOGGER = logging.getLogger(__name__)


def scaling_loop(
    ports: ScalerPorts, *, deadline_at: float, poke: Mapping[str, object] | None = None
) -> Sequence[Mapping[str, float]]:
    """Run rounds until nothing moves or the time is up; gives each round's figures.

    `poke`: what asked for it, for the log; a poke runs the same loop. Gives none if another loop
    holds the lease, or the account was written by newer code.
    """
    _LOGGER.info("loop started", extra={"poke": dict(poke or {})})
    try:
        return _hold_lease_and_run(ports, deadline_at)
    except FencedError:
        _LOGGER.warning("another loop took over")
        return [{"Fenced": 1.0}]
    except NotDeployedError as error:
        _LOGGER.error("%s", error)  # noqa: TRY400  one sentence a minute, no traceback
        return [{"RoundsFailed": 1.0}]
    except PortError:
        # The database is out of reach: nothing may be rented, and the lease expires by itself.
        _LOGGER.exception("loop ended")
        return [{"RoundsFailed": 1.0}]


def _hold_lease_and_run(ports: ScalerPorts, deadline_at: float) -> Sequence[Mapping[str, float]]:
    owner = ports.randomness.token(8)
    lease = ports.ledger.take_lease(owner, ports.clock.now(), LEASE_S)
    if lease is None:
        return []
    figures = _rounds(ports, lease.fence, lease.account, deadline_at)
    ports.ledger.release_lease(lease.fence)
    return figures


def _rounds(
    ports: ScalerPorts, fence: int, account: Account, deadline_at: float
) -> Sequence[Mapping[str, float]]:
    figures: list[Mapping[str, float]] = []
    while True:
        began_at = ports.clock.now()
        waits_s = min(WAITS_S, deadline_at - began_at - ROUND_RESERVE_S)
        try:
            outcome = run_round(
                ports, fence, account, waits_s=waits_s, lists_until=deadline_at - LISTED_RESERVE_S
            )
        except PortError:
            # Whatever was half done is finished by the next round: rows and intents say it all.
            _LOGGER.exception("round failed")
            figures.append({"RoundsFailed": 1.0})
            is_busy = True
        else:
            duration_s = ports.clock.now() - began_at
            figures.append({**outcome.figures, "RoundDurationS": duration_s})
            is_busy = outcome.is_busy
        next_at = max(ports.clock.now(), began_at + ports.round_interval_s)
        if not is_busy or next_at + ROUND_RESERVE_S > deadline_at:
            return figures
        ports.clock.sleep(next_at - ports.clock.now())
        account = ports.ledger.renew_lease(fence, ports.clock.now(), LEASE_S)
