"""A worker that claims more than it does soon gets no more than it does."""

from __future__ import annotations

import pytest

from chalicelib.core.model.load import OBSERVED_MARGIN, believed_perf
from chalicelib.core.model.vouching import vouch
from fakes.bundles.hot_ports import AUTOGROUP_ID
from tests.services.reporter import Reporter
from tests.services.router import Router, make_world, see

TRUE_PERF = 100.0
LIE = 10.0
N_WORKERS = 5
COST = 100.0
REPORT_S = 1.0  # of a busy worker of ours


class Fleet:
    """Workers that serve 100 load per second each, one of which claims ten times as much."""

    def __init__(self, requests_per_s: float) -> None:
        self.world = make_world()
        self.router = Router(self.world)
        self.every_s = 1.0 / requests_per_s
        self.reporters: dict[int, tuple[Reporter, str, float]] = {}
        self.received = dict.fromkeys(range(1, N_WORKERS + 1), 0.0)
        self.finished = dict.fromkeys(range(1, N_WORKERS + 1), 0.0)
        self.granted: list[int] = []
        self.next_report_at = self.world.clock.now()
        for instance_id in self.received:
            perf = TRUE_PERF * (LIE if instance_id == 1 else 1.0)
            worker = self.world.add_worker(instance_id, perf=perf, autogroup_id=AUTOGROUP_ID)
            self.reporters[instance_id] = (Reporter(self.world, instance_id), worker.url, perf)
        see(self.world)

    def ask(self) -> None:
        """One request, and the time to the next one."""
        reply = self.router.ask(cost=COST)
        by_url = {url: instance_id for instance_id, (_, url, _) in self.reporters.items()}
        if reply.get("url") in by_url:
            instance_id = by_url[str(reply["url"])]
            self.granted.append(instance_id)
            self.received[instance_id] += COST
        self._serve()

    def share_of_liar(self, n: int) -> float:
        """Of the last n grants."""
        return self.granted[-n:].count(1) / n

    def _serve(self) -> None:
        self.world.clock.advance(self.every_s)
        for instance_id, received in self.received.items():
            done = self.finished[instance_id] + TRUE_PERF * self.every_s
            self.finished[instance_id] = min(received, done)
        if self.world.clock.now() < self.next_report_at:
            return
        self.next_report_at += REPORT_S
        for instance_id, (reporter, _, perf) in self.reporters.items():
            working = self.received[instance_id] - self.finished[instance_id]
            reporter.send(
                ticket="D",
                boot_id="0123456789abcdef",
                seq=int(self.world.clock.now() * 1000),
                max_perf=perf,
                slots=4,
                cur_load=working,
                num_requests_working=int(-(-working // COST)),
                received_load=self.received[instance_id],
                finished_load=self.finished[instance_id],
                rejected_load=0.0,
            )
        see(self.world)


@pytest.mark.parametrize("requests_per_s", [2.5, 3.5, 4.5])
def test_a_liar_is_believed_to_do_what_its_peers_do(requests_per_s: float) -> None:
    """From its first report on: its peers vouch for it, it need not be caught at work."""
    fleet = Fleet(requests_per_s)
    for _ in range(100):
        rows = vouch(list(fleet.world.workers.rows.values()), fleet.world.clock.now())
        assert believed_perf(rows[0]) == TRUE_PERF
        fleet.ask()


@pytest.mark.parametrize("requests_per_s", [3.5, 4.5])
def test_a_liar_is_back_to_an_honest_share_within_fifty_requests(requests_per_s: float) -> None:
    """At 70 and 90 % load, where every worker is needed and shares follow perf."""
    fleet = Fleet(requests_per_s)
    for _ in range(50):
        fleet.ask()
    for _ in range(100):
        fleet.ask()
    assert fleet.share_of_liar(100) <= OBSERVED_MARGIN / N_WORKERS
