"""A worker of generation C that reports to a world."""

from __future__ import annotations

import json

from chalicelib.services.keys import worker_token
from chalicelib.services.routing.reports import ReportReply, ReportsMemory, receive_report
from chalicelib.wire.reports import WorkerReport
from fakes.bundles.hot_ports import ENDPOINT_ID, INTENT_TOKEN, HotWorld


class Reporter:
    """A worker that reports to a world."""

    def __init__(self, world: HotWorld, instance_id: int = 1) -> None:
        self.world = world
        self.memory = ReportsMemory()
        self.instance_id = instance_id
        intent = INTENT_TOKEN.format(instance_id=instance_id)
        self.token = worker_token(world.secrets, ENDPOINT_ID, intent)

    def send(
        self, token: str | None = None, basic: str = "", **fields: object
    ) -> ReportReply | None:
        body = {
            "id": self.instance_id,
            "mtoken": self.token if token is None else token,
            "version": "1.1.0",
            "loadtime": 5.0,
            "cur_load": 0.0,
            "max_perf": 100.0,
            "error_msg": "",
            **fields,
        }
        report = WorkerReport.from_json(json.dumps(body).encode())
        return receive_report(self.world.ports(), self.memory, report, basic)
