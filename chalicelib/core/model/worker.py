"""Workers: rented instances as Ballast manages them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from chalicelib.core.model.autogroup import Autogroup, TicketGeneration
from chalicelib.core.model.market import machine_fits
from chalicelib.core.model.warmth import CacheUse


class WorkerState(StrEnum):
    """Where a worker is in its life; `core/model/lifecycle.py` holds the one table of transitions.

    The values are what API answers show, except READY, which the wire calls `idle`.
    """

    CREATING = "creating"  # the create call was made, not listed yet
    LOADING = "loading"  # the host pulls the image or boots the container
    MODEL_LOADING = "model_loading"  # the container runs, first load of the model
    READY = "ready"
    DRAINING = "draining"  # finishes what it has, gets nothing new
    SUSPECT = "suspect"  # silent for 20 s, or failed under two keys
    UNREACHABLE = "unreachable"  # silent for 60 s
    STOPPING = "stopping"
    STOPPED = "stopped"  # cold: model on disk, no GPU
    PAUSED = "paused"  # interruptible, and outbid: resumes by itself when its bid wins again
    STARTING = "starting"  # booting after a stop
    UNAVAILABLE = "unavail"  # a start was refused or hangs: its GPU is let to somebody else
    REBOOTING = "rebooting"
    ERROR = "error"
    DESTROYING = "destroying"  # until confirmed absent
    FOREIGN = "foreign"  # another version's row: counted at its worst, and left alone

    @property
    def is_first_load(self) -> bool:
        """On its way to its first report: what fails now is a failed boot of its host."""
        return self in _FIRST_LOAD

    @property
    def is_coming_up(self) -> bool:
        """Will serve without a further call of ours: a first load, or a start."""
        return self in _FIRST_LOAD or self is WorkerState.STARTING

    @property
    def is_cold(self) -> bool:
        """Model on disk, no GPU; whether a start would get one is another question."""
        return self in _COLD

    @property
    def is_answering(self) -> bool:
        """Serves and reports: what it does is known, and teaches how fast it is."""
        return self in _ANSWERING

    @property
    def may_hold_requests(self) -> bool:
        """Clients may be waiting for its answers: to be drained, never stopped at once."""
        return self in _HOLDING

    @property
    def has_served(self) -> bool:
        """Came up and was told nothing else, whether it is heard of or not."""
        return self in SERVING

    @property
    def is_in_service(self) -> bool:
        """Serves, and nobody has told it to go: an update or its contract's end has to do it."""
        return self in _IN_SERVICE

    @property
    def is_wound_down(self) -> bool:
        """Its GPU is no longer billed, or told to be: a cap has nothing more to take."""
        return self in _WOUND_DOWN

    @property
    def is_passing(self) -> bool:
        """Waits for something to happen, so that rounds come quickly."""
        return self not in (WorkerState.READY, WorkerState.STOPPED, WorkerState.PAUSED)

    @property
    def is_gpu_billed(self) -> bool:
        """Whether its GPU may cost: everything but what only holds a disk."""
        return self not in _COLD and self is not WorkerState.PAUSED


_FIRST_LOAD = frozenset({WorkerState.CREATING, WorkerState.LOADING, WorkerState.MODEL_LOADING})
_COLD = frozenset({WorkerState.STOPPED, WorkerState.UNAVAILABLE})
_ANSWERING = frozenset({WorkerState.READY, WorkerState.DRAINING})
_HOLDING = _ANSWERING | {WorkerState.SUSPECT}
SERVING = _HOLDING | {WorkerState.UNREACHABLE}
_IN_SERVICE = frozenset({WorkerState.READY, WorkerState.SUSPECT})
_WOUND_DOWN = frozenset({WorkerState.STOPPED, WorkerState.STOPPING, WorkerState.DESTROYING})


class AfterDrain(StrEnum):
    """What becomes of a worker once it is empty."""

    STOP = "stop"
    DESTROY = "destroy"
    REBOOT = "reboot"


@dataclass(frozen=True, kw_only=True)  # without slots: `replaced` copies a dictionary
class Worker:
    """One worker row. Loads in the group's unit, times in epoch seconds, money in US dollars.

    Fields under "written by routing" only grow. Those under "last report" are normalised by
    `core/fleet/report.py`, whatever the worker's generation.
    """

    endpoint_id: int
    instance_id: int  # Vast's contract id = CONTAINER_ID = worker id
    autogroup_id: int
    created_at: float
    # identity, set when the rental is confirmed
    token: str = ""  # the intent's token, carried by label and MASTER_TOKEN
    key_id: str = ""  # signing key, fixed per instance
    machine_id: int = 0
    host_id: int = 0
    gpu_name: str = ""
    num_gpus: int = 1
    dlperf: float = 0.0
    load_s: float = 0.0  # of its first load, predicted when it was rented; 0 = it has loaded
    usd_per_hour: float = 0.0  # GPU and storage while running
    is_price_assumed: bool = False  # a restored machine's, until its row tells one
    agreed_usd_per_hour: float = 0.0  # what its offer said; 0 = unknown: restored, or adopted
    n_overbilled: int = 0  # listings in a row that bill far above that: core/fleet/observation.py
    storage_usd_per_hour: float = 0.0  # while stopped
    is_storage_assumed: bool = False  # a restored machine's, until its row tells one
    template_revision: int = 1
    url: str = ""  # composed from Vast's record, never from a report
    uses_ssl: bool = True  # the template's USE_SSL: whether `url` is https
    worker_port: int = 3000  # of the PyWorker inside the container
    contract_ends_at: float | None = None
    is_unconfirmed: bool = False  # found by its label alone, when tables were lost
    is_mislabelled: bool = False  # its row says that it is ours, its label does not
    is_confirmed: bool = False  # the owner has said that it is ours (`ballast adopt`)
    is_bid: bool = False  # rented at a bid, and taken away without notice when that is beaten
    bid_usd_per_hour: float = 0.0  # the standing bid for the GPUs
    bid_margin: float = 1.0  # over the least that won when it was made
    on_demand_usd_per_hour: float = 0.0  # what the machine would have cost, when it was rented
    n_cut: int = 0  # requests that it was serving when it was last taken away
    place: str = ""  # where Vast says the machine is: what is lost together
    # state
    state: WorkerState = WorkerState.CREATING
    state_since: float = 0.0
    stopped_at: float = 0.0  # last seen stopped, and nothing asked it to run since; 0 = it may run
    loaded_at: float = 0.0  # first time ready; 0 = never loaded
    started_at: float = 0.0  # last time it came up
    after_drain: AfterDrain | None = None
    drain_by: float | None = None
    n_start_refusals: int = 0
    error: str = ""
    doubted_at: float = 0.0  # when its clients' failures last made it suspect
    excused_until: float = 0.0  # its silence until then is our own trouble: core/model/lifecycle.py
    # written by routing
    reqnum: int = 0
    granted_load: float = 0.0
    retry_load: float = 0.0  # cumulative; the part of granted_load that were repeats
    n_late: int = 0  # cumulative; grants expected to start later than target_queue_time
    n_refused: int = 0  # cumulative; reservations refused anywhere before these grants
    # last report
    reported_at: float = 0.0
    report_hash: str = ""
    boot_id: str = ""
    report_seq: int = 0
    told_until: float = 0.0  # its budget of lines in the log is used up to then
    ticket: TicketGeneration | None = None
    version: str = ""
    perf: float = 0.0  # benchmark, load per second; 0 until loaded
    rank_perf: float = 0.0  # what its price is ranked by; never stored: core/model/vouching.py
    told_perf: float = 0.0  # what is learned of its type, 0 = perf; never stored
    observed_perf: float = 0.0  # served load per saturated second, once enough was served
    observed_load: float = 0.0  # served while saturated, the newest part of it
    observed_s: float = 0.0  # seconds in which that was
    working_load: float = 0.0  # in flight at the worker at the last report
    n_working: int = 0
    slots: int = 0  # requests served at once; 0 = unknown
    received_load: float = 0.0  # cumulative, cost units where the worker knows them
    finished_load: float = 0.0  # cumulative
    n_received: int = 0  # cumulative since the process started, those turned away too
    n_served: int = 0  # of these; own workers only, as the next three
    n_errored: int = 0
    n_cancelled: int = 0
    n_rejected: int = 0
    rejected_load: float = 0.0  # cumulative
    unseen_load: float = 0.0  # granted, but not seen by the worker at its last report
    load_rate: float = 0.0  # arriving load per second, smoothed
    granted_marks: tuple[tuple[float, float], ...] = ()  # (time, granted_load), newest last
    expired_load: float = 0.0  # cumulative; granted, and never seen by the worker
    unused: tuple[float, float] = (0.0, 0.0)  # load that callers leave unused: core/fleet/report.py
    uses: tuple[tuple[int, int, float, float], ...] = ()  # core/model/usage.py
    cache: CacheUse | None = None  # core/model/warmth.py; None: it does not tell
    disk_usage_gb: float = 0.0
    certificate_sha256: str = ""  # of the worker's TLS certificate, 64 hex digits; "" = none
    first_load: str = ""  # the parts of its first load, and of its last start, in seconds:
    last_start: str = ""  # core/fleet/loading.py

    @property
    def gpu_type(self) -> str:
        """'2x RTX 4090'."""
        return f"{self.num_gpus}x {self.gpu_name}"

    @property
    def at_rest_since(self) -> float | None:
        """Since when its GPU is surely not billed, whatever is done with it now; None = it may be.

        A stopped machine that is being destroyed does not start to run by that. An outbid one may
        come back by itself; then a listing shows it.
        """
        if self.stopped_at > 0:
            return self.stopped_at
        is_at_rest = self.state in (WorkerState.STOPPED, WorkerState.PAUSED)
        return self.state_since if is_at_rest else None

    @property
    def awaits_reboot(self) -> bool:
        """Whether it is broken, or drained to be rebooted."""
        is_drained = self.state is WorkerState.DRAINING and self.after_drain is AfterDrain.REBOOT
        return is_drained or self.state is WorkerState.ERROR

    @property
    def awaits_owner(self) -> bool:
        """Whether table and label do not both say that it is ours, nor has its owner said so.

        Nothing destroys such a machine unasked (security.md T21).
        """
        return (self.is_unconfirmed or self.is_mislabelled) and not self.is_confirmed

    @property
    def unused_load(self) -> float:
        """Load that was granted and did not come although other did: the most lately, fading."""
        return self.unused[0]

    @property
    def is_measured(self) -> bool:
        """Whether `perf` comes from a benchmark of this worker."""
        return self.perf > 0


_NAMES = frozenset(one.name for one in fields(Worker))


def replaced(row: Worker, /, **changes: Any) -> Worker:
    """`dataclasses.replace` of a row in a fifteenth of the time: every view is made of such rows.

    Raises:
        KeyError: a row has no such field.
    """
    if not changes.keys() <= _NAMES:
        raise KeyError(*(changes.keys() - _NAMES))
    made = object.__new__(Worker)
    made.__dict__.update(row.__dict__, **changes)
    return made


def update_warnings(states: Sequence[str], max_workers: int | None) -> list[str]:
    """What an update costs a group in service: where it is full, or rests, nobody comes first.

    `states`: of all workers of the group.
    """
    warnings = []
    if max_workers is not None and len(states) >= max_workers:
        warnings.append(
            f"max_workers ({max_workers}) is reached: each worker leaves before its substitute is "
            "there; raise it by one to replace without a gap"
        )
    if states and set(states) == {WorkerState.STOPPED}:
        warnings.append(
            "no worker of the group runs: those that are replaced go now, and new ones are rented "
            "when requests come, which then wait for a first load"
        )
    return warnings


def is_outdated(worker: Worker, autogroup: Autogroup) -> bool:
    """Whether a rolling update replaces it: of an older template, or outside the search."""
    return worker.template_revision < autogroup.template_revision or not machine_fits(
        autogroup.search_query, gpu_name=worker.gpu_name, num_gpus=worker.num_gpus
    )
