"""The program on a rented machine, as far as its reports tell of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.model.worker import Worker
from chalicelib.wire.reports import WorkerReport
from fakes.market.market_instance import MarketInstance, PretendHosts


@dataclass(slots=True)
class WorkerProgram:
    """What a worker would say of itself now; `seq` is its last report's number."""

    boot_id: str
    seq: int = 0
    error: str = ""
    is_silent: bool = False
    n_working: int = 0
    working_load: float = 0.0
    slots: int = 4
    fails: bool = False  # answers every request with an error of the model server's
    is_deaf: bool = False  # reports, and cannot be reached
    n_served: int = 0
    n_errored: int = 0
    unused: float = 0.0  # load granted to it whose tickets never came
    lie: Mapping[str, object] = field(default_factory=dict)  # what root on its host reports instead

    def report(
        self, instance_id: int, token: str, *, max_perf: float, row: Worker | None
    ) -> WorkerReport:
        """Its report; it has received what `row` says was granted to it, but for `unused`."""
        received = max(row.granted_load - self.unused, 0.0) if row else 0.0
        body = {
            "id": instance_id,
            "mtoken": token,
            "ticket": "D",
            "version": "1.0.0",
            "boot_id": self.boot_id,
            "seq": self.seq,
            "max_perf": max_perf,
            "cur_load": self.working_load,
            "num_requests_working": self.n_working,
            "slots": self.slots,
            "received_load": received,
            "finished_load": max(0.0, received - self.working_load),
            "error_msg": self.error,
            "n_served": self.n_served,
            "n_errored": self.n_errored,
            **self.lie,
        }
        return WorkerReport.from_json(json.dumps(body))


class ProgramHosts(PretendHosts):
    """Hosts on which a program ends with its container: after a reboot another one runs."""

    def __init__(self, programs: dict[int, WorkerProgram]) -> None:
        self._programs = programs

    def stopping(self, instance: MarketInstance, now: float) -> None:
        """It ends."""
        self._programs.pop(instance.instance_id, None)

    def killed(self, instance: MarketInstance, now: float) -> None:
        """It ends."""
        self._programs.pop(instance.instance_id, None)
