"""What was found: one line for each thing that Ballast takes for granted."""

from __future__ import annotations

from dataclasses import dataclass, field

EXPECTED: dict[str, tuple[str, str]] = {
    "right:instance_read": ("the key lists instances", "nothing is rented; renew the key"),
    "right:misc": ("the key searches offers", "nothing is rented; renew the key"),
    "right:user_read": ("the key reads templates and credit", "no template can be launched"),
    "list:members": ("instances, total_instances, next_token", "the listing is not believed"),
    "list:unique": ("each instance once", "the listing is not believed"),
    "list:page": ("at most 25 rows a page", "the listing takes other pages"),
    "list:total": ("total_instances is the number of rows", "the listing is read again"),
    "state:words": ("only states that Ballast knows", "the machine waits; a boot limit ends it"),
    "search:rows": ("a list of offers, one at least", "no offers: requests wait"),
    "search:filters": ("every row meets the search", "such rows are left out and counted"),
    "search:sorted": ("cheapest first", "Ballast sorts by itself; dearer ones may hide others"),
    "search:limit": ("no more rows than asked for", "the daily budget of rows is used sooner"),
    "offer:members": ("id, machine, GPU, price, storage", "the row is left out and counted"),
    "offer:numbers": ("prices are numbers, none negative", "the row is left out and counted"),
    "offer:storage": ("storage_cost x GB / 720 an hour", "storage is booked wrongly by that share"),
    "credit:number": ("credit is a number", "renting is tried again after each pause"),
    "template:list": ("templates, an empty list for none", "no template can be launched"),
    "show:absent": ("404 or null for an unknown id", "the machine stays in doubt"),
    "create:contract": ("new_contract, a number", "the rental is looked for by its label"),
    "create:listed": ("listed within a minute", "it is looked for longer before it is given up"),
    "create:settles": ("listed within 30 s", "what a lost answer rented is found later"),
    "label:kept": ("the label comes back as sent", "a lost rental may not be found again"),
    "env:kept": ("extra_env has what was sent", "the worker does not start"),
    "price:kept": ("not dearer than the offer", "caps count what is billed"),
    "boot:running": ("running within 10 minutes", "the host is blamed and avoided"),
    "address:public": ("an address that is routed", "the worker is not used"),
    "ports:mapped": ("the port that was asked for", "the worker is not used"),
    "logs:read": ("the log holds what was printed", "`ballast logs --worker` shows nothing"),
    "stop:kept": ("a stopped machine stays listed", "no cold worker can be kept"),
    "start:answered": ("started, or queued in words", "the cold worker is given up"),
    "bid:change": ("a changed bid is accepted", "bids stay as they were first made"),
    "bid:lost-words": ("intended stopped, then exited", "a beaten bid is seen by its silence"),
    "destroy:accepted": ("accepted", "it is tried again each round"),
    "destroy:gone": ("gone from listing and look", "it is named until it is gone"),
}
"""By name: what is expected, and what Ballast does if it is otherwise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. `ok` None: it could not be tried."""

    name: str
    ok: bool | None
    seen: str

    @property
    def expected(self) -> str:
        """What Ballast takes for granted."""
        return EXPECTED[self.name][0]

    @property
    def otherwise(self) -> str:
        """What Ballast does if it is wrong."""
        return EXPECTED[self.name][1]


@dataclass(slots=True)
class Findings:
    """All lines, in the order in which they were found; a wrong one is never overwritten."""

    lines: dict[str, Finding] = field(default_factory=dict)

    def add(self, name: str, ok: bool | None, seen: str) -> None:
        """Note one; a second sight of the same may only make it worse."""
        before = self.lines.get(name)
        if before is None or before.ok or (before.ok is None and ok is not None):
            self.lines[name] = Finding(name, ok, seen[:160])

    def wrong(self) -> list[Finding]:
        """Those that are otherwise than expected."""
        return [line for line in self.lines.values() if line.ok is False]
