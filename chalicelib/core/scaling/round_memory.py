"""What the scaler remembers from round to round, besides rows and the account: one JSON value.

Losing it loses no machine and no money: rounds then learn anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib.core.codec import salvage, to_json
from chalicelib.core.fleet.breakers import Reputation
from chalicelib.core.fleet.canary import Watch
from chalicelib.core.fleet.failing import Outcomes
from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.searching import SearchDay, SearchPace
from chalicelib.core.fleet.set_aside import Failure
from chalicelib.core.fleet.troubles import LastingTrouble
from chalicelib.core.moments import is_ahead, rebased

BLOB_NAME = "round"
WRITTEN_BY = "0.2.0"
"""The newest change of a stored form; tests/golden records each."""

REPORTS_RETURN_S = 60.0  # after an outage of reports a start or load that is over has told so


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundMemory:
    """Keys of mappings are texts, since JSON has no others."""

    at: float = 0.0  # of the last round
    written_by: str = ""  # whose forms the last round wrote
    published: int = 0  # a digest of the groups and autogroups that routers were told of
    inventory: Inventory = field(default_factory=Inventory)
    listing_so_far: Mapping[str, object] = field(
        default_factory=dict
    )  # of one that was cut short: the next round goes on, in whichever process
    groups: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # of the law
    traffic: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict
    )  # see core/scaling/facts.py
    reputation: Reputation = field(default_factory=Reputation)
    progress: Mapping[str, tuple[str, float]] = field(
        default_factory=dict
    )  # see core/fleet/observation.py
    outcomes: Mapping[str, Outcomes] = field(
        default_factory=dict
    )  # of requests, by worker: see core/fleet/failing.py
    search_paces: Mapping[str, SearchPace] = field(default_factory=dict)  # by autogroup
    search_day: SearchDay = field(default_factory=SearchDay)
    failures: Mapping[str, Failure] = field(
        default_factory=dict
    )  # of offers, machines, autogroups: see core/fleet/set_aside.py
    searched: Mapping[str, float] = field(default_factory=dict)  # when, by autogroup
    troubles: Mapping[str, LastingTrouble] = field(
        default_factory=dict
    )  # by key, see core/fleet/troubles.py
    n_strays: int = 0  # machines with a label of ours that nobody knows
    canaries: Mapping[str, Watch] = field(
        default_factory=dict
    )  # by group, see core/fleet/canary.py
    guarded: Mapping[str, tuple[str, float]] = field(
        default_factory=dict
    )  # which cap refused a group's last rental or start, and when; by group
    denied: Mapping[str, str] = field(default_factory=dict)  # what Vast's key may not do, by verb
    silences: Mapping[str, float] = field(
        default_factory=dict
    )  # which scopes' reports were missing by our own trouble, and when last: lifecycle.py
    unheard: str = ""  # why nobody was told of the last alert
    credit_retry_at: float = 0.0  # no rental before: Vast rents the account nothing
    credit_refusal: str = ""  # the code that it said so with
    minutes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by scope
    spend: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # see core/money/spend.py
    spend_before_jump: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # with the account's `before_jump`

    unknown: Mapping[str, object] = field(default_factory=dict)  # another version's fields, kept

    def silences_after(self, common: Iterable[str], now: float) -> Mapping[str, float]:
        """Scopes whose reports are missing by our own trouble, or were until lately, and when."""
        known = self.silences.items()
        lately = {scope: at for scope, at in known if now - at < REPORTS_RETURN_S}
        return {**lately, **dict.fromkeys(common, now)}

    def to_bytes(self) -> bytes:
        """Equal memories are equal bytes."""
        return to_json(self).encode()

    def as_of(self, now: float) -> RoundMemory:
        """The memory as if the clock that wrote it had been right."""
        if not is_ahead(self.at, now):
            return self
        plain = rebased(json.loads(self.to_bytes()), self.at, now)
        plain["spend_before_jump"] = self.spend_before_jump  # by the clock of before
        return RoundMemory.from_bytes(json.dumps(plain).encode())

    @staticmethod
    def from_bytes(blob: bytes | None) -> RoundMemory:
        """The memory in a blob; a fresh one for None.

        What another version wrote in another shape starts anew, each field by itself; fields
        unknown to this code are kept as they are.
        """
        try:
            raw = json.loads(blob) if blob is not None else {}
        except ValueError:
            return RoundMemory()
        return salvage(RoundMemory, raw)
