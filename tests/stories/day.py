"""A day of one account, played through the real router, reports, scaler, management and journal.

`Day` writes a diary, a line for each minute in which something changed (`pytest -s` shows it), and
ends with the market's bill and what the owner was told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from chalicelib.core.codec import from_plain
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.troubles import LastingTrouble, standing
from chalicelib.core.model.caller_key import ADMIN
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME
from chalicelib.ports.event_log import Event
from chalicelib.services.keys import Caller
from chalicelib.services.owner import autogroups, brakes, groups
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.wire.management import AutogroupChanges, EndpointChanges
from fakes.market.market_config import MarketConfig
from fakes.ports.clock import ManualClock
from fakes.worlds.world import PROMPT_MARKET, World
from tests.faults.stories import all_events

OWNER = Caller(key_id="a-roa-owner", verbs=frozenset({ADMIN}), endpoint_id=None, generation=1)
HOUR, DAY = 60, 24 * 60  # minutes
STEP_S = 5.0  # as the world goes on: machines go within a minute, and bill until then
LOGGED = frozenset(
    {
        "state",
        "worker_state",
        "decision",
        "notified",
        "gone",
        "changed",
        "changed_autogroup",
        "changed_account",
    }
)
"""Kinds of events that are the log's, not news for the owner."""


class Day:
    """An account with one group, or none yet; time goes on in minutes."""

    def __init__(
        self,
        *,
        seed: int = 2,
        config: MarketConfig = PROMPT_MARKET,
        cap_usd_per_hour: float = 100.0,
        beside: Day | None = None,
    ) -> None:
        """`beside`: another stage on the same Vast account, whose time is this one's."""
        neighbour = None if beside is None else beside.world
        self.world: World = World(config, seed=seed, keeps_router=True, beside=neighbour)
        self.world.ledger.set_caps(
            {
                "caps_microusd_per_hour": int(cap_usd_per_hour * 1e6),
                "caps_microusd_per_day": 10_000_000_000,
                "caps_microusd_per_month": 100_000_000_000,
            }
        )
        self.began_at = self.world.now
        self.diary: list[str] = []
        self.stored_usd = 0.0  # what the disks alone would have cost

    # ------------------------------------------------------------------------------- the owner

    def group(self, name: str = "llm", **params: object) -> EndpointGroup:
        """A group with one autogroup."""
        return self.world.add_group(name, **{"cold_workers": 1, "max_workers": 4, **params})

    def change(self, group: EndpointGroup, **params: object) -> None:
        """`ballast update endpoint`."""
        changes = EndpointChanges(params=params)  # type: ignore[arg-type]  # checked by the service
        groups.update_group(self.world.owner_ports, OWNER, group.endpoint_id, changes)

    def schedule(
        self, group: EndpointGroup, cron: str, *, duration_s: float, min_load: float, timezone: str
    ) -> None:
        """`ballast update endpoint --schedule`."""
        changes = EndpointChanges(schedules=((cron, duration_s, min_load, timezone),))
        groups.update_group(self.world.owner_ports, OWNER, group.endpoint_id, changes)

    def set_state(self, group: EndpointGroup, state: str) -> None:
        """`ballast update endpoint --state`."""
        changes = EndpointChanges(state=state)
        groups.update_group(self.world.owner_ports, OWNER, group.endpoint_id, changes)

    def delete(self, group: EndpointGroup) -> None:
        """`ballast delete endpoint`."""
        groups.delete_group(self.world.owner_ports, OWNER, group.endpoint_id)

    def change_autogroup(self, group: EndpointGroup, **changes: object) -> None:
        """`ballast update autogroup`, of the group's first."""
        ports = self.world.owner_ports
        first = ports.groups.list_autogroups(group.endpoint_id)[0]
        wanted = AutogroupChanges(**changes)  # type: ignore[arg-type]  # checked by the service
        autogroups.update_autogroup(ports, OWNER, first.autogroup_id, wanted)

    def freeze(self, *, frozen: bool = True) -> None:
        """`ballast freeze`, `ballast unfreeze`."""
        brakes.freeze_account(self.world.owner_ports, OWNER, frozen=frozen)

    def panic(self) -> None:
        """`ballast panic` by way of the scaler."""
        brakes.panic(self.world.owner_ports, OWNER)

    # ------------------------------------------------------------------------------------ time

    def minutes(
        self, n: int, asks: int = 0, *, of: EndpointGroup | None = None, rounds: int = 1
    ) -> None:
        """So many minutes; `asks`: requests a minute, `rounds`: of the scaler in each."""
        for _ in range(n):
            if asks and of is not None:
                self.world.ask(of.endpoint_id, asks)
            for _ in range(rounds):
                scaling_loop(self.world.ports, deadline_at=self.world.now + 1)
                self._pass(60.0 / rounds)
            self._write()

    def seconds(self, n: int, asks: int = 0, *, of: EndpointGroup | None = None) -> None:
        """Five seconds at a time, a round in each."""
        for _ in range(n // 5):
            if asks and of is not None:
                self.world.ask(of.endpoint_id, asks)
            scaling_loop(self.world.ports, deadline_at=self.world.now + 1)
            self._pass(5.0)
        self._write()

    def slip(self, ahead_s: float) -> None:
        """One loop of the scaler under a clock that is so much ahead, or behind."""
        clock = ManualClock(self.world.now + ahead_s)
        scaling_loop(replace(self.world.ports, clock=clock), deadline_at=clock.now() + 1)

    # ------------------------------------------------------------------------ what can be seen

    def n(self, *states: WorkerState, of: EndpointGroup | None = None) -> int:
        """Workers in these states."""
        rows = self.world.workers.rows.values()
        ours = [row for row in rows if of is None or row.endpoint_id == of.endpoint_id]
        return sum(1 for row in ours if row.state in states)

    def running(self) -> int:
        """Machines that the market bills a GPU for."""
        return sum(1 for one in self.world.market.instances.values() if one.is_billed_for_gpu)

    def calls(self, verb: Verb) -> int:
        """Calls of this kind that Vast got."""
        return sum(1 for call in self.world.market.calls if call.verb is verb)

    def bill(self) -> float:
        """Dollars that the market has billed."""
        return self.world.market.bill(self.world.now).total_usd

    def storage(self) -> float:
        """Dollars an hour for the disks that are kept."""
        return sum(one.storage_usd_per_hour for one in self.world.market.instances.values())

    def troubles(self) -> Mapping[str, str]:
        """What stands wrong now, by kind."""
        memory = json.loads(self.world.ledger.read_blob(BLOB_NAME) or b"{}")
        lasting = from_plain(dict[str, LastingTrouble], memory.get("troubles", {}))
        return {one.kind: one.message for one in standing(lasting, self.world.now)}

    def told(self, kind: str) -> list[str]:
        """Events of this kind, and its end."""
        return [event.kind for event in self.events() if event.kind in (kind, f"{kind}_over")]

    def events(self) -> list[Event]:
        """Everything that was logged, in its order."""
        return sorted(all_events(self.world), key=lambda event: event.at)

    def ends(self) -> str:
        """The diary's last lines: the bill, and what was told."""
        news = Counter(event.kind for event in self.events() if event.kind not in LOGGED)
        self.diary.append(f"the bill: ${self.bill():.2f}; told: {dict(sorted(news.items()))}")
        text = "\n".join(self.diary)
        print(text)  # noqa: T201  a diary is read
        return text

    def _pass(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.stored_usd += self.storage() * STEP_S / 3600.0
            self.world.tick(STEP_S)

    def _write(self) -> None:
        rows = self.world.workers.rows.values()
        states = Counter(row.state.value for row in rows)
        line = (
            f"{dict(sorted(states.items()))} {self.world.n_waiting} wait; {sorted(self.troubles())}"
        )
        minute = (self.world.now - self.began_at) / 60
        if not self.diary or not self.diary[-1].endswith(line):
            self.diary.append(f"{minute:6.0f} min: {line}")
