"""What rounds learn about machines: times, odds and speeds, as small posteriors.

Times are lognormal (scaling.md 6): kept as moments of their logarithm, shrunk to a prior.
Odds are Beta posteriors. Speeds are normal in the logarithm, per autogroup and GPU type, with a
prior from the marketplace's own benchmark (`dlperf`), as in scaling.md 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.core.model.vouching import lower_median
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.hazard import learn_losses
from chalicelib.core.scaling.memory import Moments, ScalingMemory
from chalicelib.core.scaling.snapshot import GroupSnapshot, WorkerFacts

LOAD_PRIOR_S, LOAD_PRIOR_SIGMA = 300.0, 0.6  # create → ready (scaling.md 11)
START_PRIOR_S, START_PRIOR_SIGMA = 20.0, 0.5  # stopped → ready (scaling.md 11)
TIME_PRIOR_N = 3.0  # observations that the prior of a time is worth
LOAD_TIMEOUT_FLOOR_S = 960.0  # 15 minutes are normal for a large model (promises.md 32)
LOAD_TIMEOUT_CAP_S = 7200.0  # scaling.md 6
START_TIMEOUT_FLOOR_S, START_TIMEOUT_CAP_S = 45.0, 600.0  # scaling.md 6
HEDGE_LOAD_Z = 1.3  # a load later than its 90th percentile is hedged, if nothing else could serve
LATE_Z = 2.5  # what takes longer than all but 0.6 % do is stuck (scaling.md 6)
QUICK_SPREAD = 1.25  # times that beat the prior widen its sigma by no more than this factor
BOOT_PRIOR_ODDS = 0.92  # 8 % of boots fail (scaling.md 11)
BOOT_PRIOR_N = 20.0  # boots that a type's prior, the autogroup's own odds, is worth
START_ODDS_PRIOR = (32.0, 1.0)  # 3 % of starts fail
OWN_START_N = 5.0  # starts that a worker's prior, the group's odds, is worth
PERF_PRIOR_SD, PERF_NOISE_SD = 0.35, 0.1  # of log perf: between types; within one type
UNKNOWN_SPEEDS = tuple(  # of a machine over its type's: three points of a normal, with weights
    (math.exp(z * PERF_NOISE_SD), weight) for z, weight in ((-1.22, 0.3), (0.0, 0.4), (1.22, 0.3))
)
PERF_PRIOR_N = 0.5  # machines that the spread between types is known from beforehand
PERF_LATELY_N = 5  # first loads of a type whose middle says what is usual
PERF_OUTLIER = 2 * PERF_PRIOR_SD  # of log perf from that middle: twice as fast is another machine
DISPROVED = 20.0
"""A group's typical worker does not become so much slower. Chosen: twice the spread of all recorded
GPUs, whose dlperf goes from 21 to 222 (tests/evidence/vast). What does was never so fast, or serves
another model, whose load has another unit; either way demand counted in its slots at the
former speed is none. An honest one whose work shows half its benchmark (a hot GPU, a neighbour, a
larger model) counts as 1.25 x that half (`load.believed_perf`), and nothing is forgotten."""
LEARNED_N = 2.0  # first loads of a type after which its machines vouch for a later one
MAX_LOG_PERF = 35.0  # beyond any load; keeps every sum finite
HOST_PRIOR_N = 2.0  # loads that "as fast as other hosts" is worth: with residual times of sigma
# 0.5 and hosts that differ by 0.35, a host's own mean is as sure as that after two
HOST_LOADS_N = 8.0  # beyond these a host's oldest loads fade: lines are rebuilt, disks fill
HOST_FADES_S = 14 * 86_400.0  # chosen: what a host did two weeks ago counts a third
LEAST_HOST_LOADS = 0.05  # a record worth less than a twentieth of a load says nothing
MOST_LOAD_FACTOR = 3.0  # chosen: a load counts as three times as long or short as usual at most
FASTEST_HOST, SLOWEST_HOST = 0.7, 2.5  # chosen: who claims more speed gains no more than this
MAX_HOSTS = 200  # chosen: far more than a group meets in two weeks; a record is some 40 bytes
MAX_TRACKED = 500  # transitions followed at once; more would bloat the memory


@dataclass(frozen=True, kw_only=True, slots=True)
class LogTime:
    """A lognormal time in seconds."""

    mu: float
    sigma: float

    def quantile(self, z: float) -> float:
        """The time at `z` standard deviations of the logarithm."""
        return math.exp(min(self.mu + z * self.sigma, 700.0))

    @property
    def median(self) -> float:
        """Half take longer."""
        return math.exp(self.mu)


def add_sample(moments: Moments, value: float, *, memory_n: float = 50.0) -> Moments:
    """`moments` with one more value; beyond `memory_n` values the oldest fade."""
    n, mean, m2 = moments
    if n >= memory_n:
        m2 *= memory_n / (n + 1.0)
        n = memory_n - 1.0
    n += 1.0
    delta = value - mean
    mean += delta / n
    return [n, mean, m2 + delta * (value - mean)]


def shrunk_time(moments: Moments, prior_s: float, prior_sigma: float) -> LogTime:
    """The posterior of a time, the prior being worth TIME_PRIOR_N observations."""
    n, mean, m2 = moments
    prior_mu = math.log(prior_s)
    total = n + TIME_PRIOR_N
    mu = (n * mean + TIME_PRIOR_N * prior_mu) / total
    between = n * TIME_PRIOR_N / total * (mean - prior_mu) ** 2 if n else 0.0
    variance = (m2 + TIME_PRIOR_N * prior_sigma**2 + between) / total
    return LogTime(mu=mu, sigma=math.sqrt(max(variance, 1e-6)))


def late_after(time: LogTime, prior_s: float, prior_sigma: float) -> float:
    """Seconds after which a time is late.

    Times below the prior spread the posterior, but say nothing about slow ones: a single load of
    20 s, its image being cached, must not make an hour of another one look normal.
    """
    if time.mu < math.log(prior_s):
        time = replace(time, sigma=min(time.sigma, QUICK_SPREAD * prior_sigma))
    return time.quantile(LATE_Z)


def type_key(autogroup_id: int, gpu_type: str) -> str:
    """Under which an autogroup's knowledge of a GPU type is kept."""
    return f"{autogroup_id}|{gpu_type}"


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What the memory says about times, odds and speeds, ready for use in one round."""

    memory: ScalingMemory

    def start_time(self) -> LogTime:
        """Stopped → ready."""
        return shrunk_time(self.memory.start_times, START_PRIOR_S, START_PRIOR_SIGMA)

    def load_time(self, autogroup_id: int) -> LogTime:
        """Created → ready."""
        moments = self.memory.load_times.get(str(autogroup_id), [0.0, 0.0, 0.0])
        return shrunk_time(moments, LOAD_PRIOR_S, LOAD_PRIOR_SIGMA)

    def start_timeout(self) -> float:
        """After this a start is stuck."""
        late = late_after(self.start_time(), START_PRIOR_S, START_PRIOR_SIGMA)
        return min(max(late, START_TIMEOUT_FLOOR_S), START_TIMEOUT_CAP_S)

    def load_timeout(self, autogroup_id: int, predicted_s: float = 0.0) -> float:
        """After this a first load is stuck, unless it tells of progress (moves/repair.py).

        `predicted_s`: of this load, by the line of its host; 0 = as most of the autogroup's.
        """
        time = self.load_time(autogroup_id)
        late = late_after(time, LOAD_PRIOR_S, LOAD_PRIOR_SIGMA) * _slowness(predicted_s, time)
        return min(max(late, LOAD_TIMEOUT_FLOOR_S), LOAD_TIMEOUT_CAP_S)

    def load_began_at(self, worker: WorkerFacts) -> float:
        """When a first load began: with the machine, or when it came back from being outbid."""
        return self.memory.booting.get(str(worker.instance_id), [worker.created_at])[0]

    def late_load_s(self, autogroup_id: int, predicted_s: float) -> float:
        """After this a first load is later than nine of ten of its kind."""
        time = self.load_time(autogroup_id)
        return time.quantile(HEDGE_LOAD_Z) * _slowness(predicted_s, time)

    def host_pace(self, host_id: int) -> float:
        """How long loads on a host take over what its line lets expect; 1 = as on others."""
        n, mean = self.memory.host_loads.get(str(host_id), (0.0, 0.0)) if host_id else (0.0, 0.0)
        pace = math.exp(n * mean / (n + HOST_PRIOR_N))
        return min(max(pace, FASTEST_HOST), SLOWEST_HOST)

    def boot_odds(self, autogroup_id: int, gpu_type: str) -> float:
        """Probability that a rented machine of this type becomes ready."""
        boots = self.memory.boots
        good = sum(pair[0] for pair in boots.values())
        total = sum(pair[0] + pair[1] for pair in boots.values())
        prior = (good + BOOT_PRIOR_ODDS * BOOT_PRIOR_N) / (total + BOOT_PRIOR_N)
        good, bad = boots.get(type_key(autogroup_id, gpu_type), (0.0, 0.0))
        return (good + prior * BOOT_PRIOR_N) / (good + bad + BOOT_PRIOR_N)

    def start_odds(self, worker: WorkerFacts) -> float:
        """Probability that a stopped worker comes up; failures in a row lower its own odds."""
        good, bad = self.memory.starts
        odds = (good + START_ODDS_PRIOR[0]) / (good + bad + sum(START_ODDS_PRIOR))
        failures = self.memory.failed_starts.get(str(worker.instance_id), 0.0)
        return odds * OWN_START_N / (OWN_START_N + failures + max(worker.n_start_refusals, 0))

    def perf_of(self, autogroup_id: int, gpu_type: str, dlperf: float) -> float:
        """Expected perf of a machine of this type; 0 while the group has measured none."""
        mean = self.log_perf(autogroup_id, gpu_type, dlperf)
        return math.exp(min(mean[0], MAX_LOG_PERF)) if mean is not None else 0.0

    def log_perf(
        self, autogroup_id: int, gpu_type: str, dlperf: float
    ) -> tuple[float, float] | None:
        """Posterior mean and sd of log perf, or None while nothing was measured."""
        n, mean, _ = self.memory.perf.get(type_key(autogroup_id, gpu_type), (0.0, 0.0, 0.0))
        n_ratio, ratio, m2 = self.memory.perf_per_dlperf.get(str(autogroup_id), (0.0, 0.0, 0.0))
        # How far types differ beyond what single machines do: from the ratios seen so far.
        seen = max(m2 - n_ratio * PERF_NOISE_SD**2, 0.0)
        between = (seen + PERF_PRIOR_N * PERF_PRIOR_SD**2) / (n_ratio + PERF_PRIOR_N)
        if n_ratio and dlperf > 0:
            prior = ratio + math.log(dlperf)
        elif self.memory.worker_perf > 0:
            prior = math.log(self.memory.worker_perf)
        else:
            return (mean, PERF_NOISE_SD) if n else None
        precision_prior, precision_data = 1.0 / between, n * PERF_NOISE_SD**-2
        total = precision_prior + precision_data
        posterior = (prior * precision_prior + mean * precision_data) / total
        return posterior, math.sqrt(1.0 / total)

    def capacity_of(self, worker: WorkerFacts) -> float:
        """Load per second that a worker serves: measured, else expected of its type."""
        if worker.perf > 0:
            return worker.perf
        expected = self.perf_of(worker.autogroup_id, worker.gpu_type, worker.dlperf)
        return expected if expected > 0 else self.memory.worker_perf


def learn(memory: ScalingMemory, snapshot: GroupSnapshot, now: float) -> None:
    """Take from the snapshot what happened since the previous round, into `memory`."""
    if now <= memory.at:
        return
    by_id = {str(worker.instance_id): worker for worker in snapshot.workers}
    _learn_starts(memory, by_id, now)
    _fade_hosts(memory, now)
    _learn_boots(memory, by_id, now)
    learn_losses(memory, snapshot.workers, now)  # loads look at who was outbid before
    for worker in snapshot.workers:
        if worker.perf > 0 and memory.at < worker.loaded_at <= now:
            _learn_perf(memory, worker)
    _learn_typical_worker(memory, snapshot.workers)
    memory.rebooted = {key: at for key, at in memory.rebooted.items() if key in by_id}
    memory.failed_starts = {key: n for key, n in memory.failed_starts.items() if key in by_id}


def _learn_starts(memory: ScalingMemory, by_id: dict[str, WorkerFacts], now: float) -> None:
    still: dict[str, float] = {}
    limit_s = Beliefs(memory).start_timeout()
    for key, since in memory.starting.items():
        worker = by_id.get(key)
        if worker is not None and worker.state.is_answering:
            seconds = max(min(worker.state_since, now) - since, 1.0)
            memory.start_times = add_sample(memory.start_times, math.log(seconds))
            memory.starts = _counted(memory.starts, succeeded=True)
            memory.failed_starts.pop(key, None)
        elif worker is not None and worker.state is WorkerState.STARTING:
            still[key] = since
        elif worker is not None and not _is_called_off(worker, since, limit_s):
            memory.starts = _counted(memory.starts, succeeded=False)
            memory.failed_starts[key] = memory.failed_starts.get(key, 0.0) + 1.0
    for key, worker in by_id.items():
        if worker.state is WorkerState.STARTING and key not in still and len(still) < MAX_TRACKED:
            still[key] = worker.state_since
    memory.starting = still


def _is_called_off(worker: WorkerFacts, since: float, limit_s: float) -> bool:
    """Whether a start ended by a wish of ours or a higher bid: the machine is not to blame.

    Of those that are stopped, only who had its whole time (`end_stuck`) has failed.
    """
    if worker.state in (WorkerState.STOPPING, WorkerState.STOPPED):
        return worker.state_since - since <= limit_s
    return worker.state is WorkerState.PAUSED


def _learn_boots(memory: ScalingMemory, by_id: dict[str, WorkerFacts], now: float) -> None:
    still: dict[str, list[float]] = {}
    types: dict[str, str] = {}
    for key, (created_at, *predicted) in memory.booting.items():
        worker, kind = by_id.get(key), memory.booting_type.get(key, "")
        if worker is not None and worker.loaded_at > 0:
            seconds = max(min(worker.loaded_at, now) - created_at, 1.0)
            autogroup = str(worker.autogroup_id)
            moments = memory.load_times.get(autogroup, [0.0, 0.0, 0.0])
            slowness, pace = (*predicted, 1.0, 1.0)[:2]
            log_usual = math.log(seconds / slowness)  # on a line and a host like most
            if moments[0] >= TIME_PRIOR_N:  # before, it may be the autogroup that differs
                mu = Beliefs(memory).load_time(worker.autogroup_id).mu
                _learn_host(memory, worker.host_id, _near(log_usual + math.log(pace), mu) - mu)
                log_usual = _near(log_usual, mu)
            memory.load_times[autogroup] = add_sample(moments, log_usual)
            memory.boots[kind] = _counted(memory.boots.get(kind, [0.0, 0.0]), succeeded=True)
        elif worker is not None and worker.state.is_first_load:
            still[key], types[key] = [created_at, *predicted], kind
        elif worker is None or worker.state is not WorkerState.PAUSED:  # outbid is no failed boot
            memory.boots[kind] = _counted(memory.boots.get(kind, [0.0, 0.0]), succeeded=False)
    for key, worker in by_id.items():
        is_new = worker.state.is_first_load and worker.loaded_at <= 0 and key not in still
        if is_new and len(still) < MAX_TRACKED:
            time = Beliefs(memory).load_time(worker.autogroup_id)
            pace = Beliefs(memory).host_pace(worker.host_id) if worker.load_s > 0 else 1.0
            is_back = memory.bid_states.get(key, 0.0) < 0  # was outbid: its load begins anew
            began_at = worker.state_since if is_back else worker.created_at
            still[key] = [began_at, _slowness(worker.load_s, time), pace]
            types[key] = type_key(worker.autogroup_id, worker.gpu_type)
    memory.booting, memory.booting_type = still, types


def _fade_hosts(memory: ScalingMemory, now: float) -> None:
    fade = math.exp(-(now - memory.at) / HOST_FADES_S) if memory.at > 0 else 1.0
    faded = {key: [n * fade, mean] for key, (n, mean) in memory.host_loads.items()}
    memory.host_loads = {key: row for key, row in faded.items() if row[0] >= LEAST_HOST_LOADS}


def _near(log_s: float, mu: float) -> float:
    """A load's time within what one may count: of a stuck download, or of who lies, no more."""
    most = math.log(MOST_LOAD_FACTOR)
    return min(max(log_s, mu - most), mu + most)


def _learn_host(memory: ScalingMemory, host_id: int, log_pace: float) -> None:
    if not host_id:
        return
    n, mean = memory.host_loads.get(str(host_id), (0.0, 0.0))
    n = min(n, HOST_LOADS_N - 1.0) + 1.0
    memory.host_loads[str(host_id)] = [n, mean + (log_pace - mean) / n]
    if len(memory.host_loads) > MAX_HOSTS:
        least = min(memory.host_loads, key=lambda key: (memory.host_loads[key][0], key))
        del memory.host_loads[least]


def _slowness(predicted_s: float, time: LogTime) -> float:
    """A load as predicted over what most take: 1 where nobody predicted."""
    return predicted_s / time.median if predicted_s > 0 else 1.0


def _counted(odds: Sequence[float], *, succeeded: bool) -> list[float]:
    good, bad = odds
    fade = 0.98  # about the last fifty count
    return [good * fade + succeeded, bad * fade + (not succeeded)]


def _learn_perf(memory: ScalingMemory, worker: WorkerFacts) -> None:
    """A first load's perf, unless it is far from what machines of the type said lately.

    One that is wrong by a large factor would stand for its type in every later rental.
    """
    log_perf = math.log(worker.told_perf or worker.perf)
    kind = type_key(worker.autogroup_id, worker.gpu_type)
    lately = [*memory.perf_lately.get(kind, []), log_perf][-PERF_LATELY_N:]
    memory.perf_lately[kind] = lately
    middle = lower_median(lately)
    known = memory.perf.get(kind, [0.0, 0.0, 0.0])
    if known[0] and abs(known[1] - middle) > PERF_OUTLIER:
        known = [0.0, 0.0, 0.0]
        for sample in lately[:-1]:
            if abs(sample - middle) <= PERF_OUTLIER:
                known = add_sample(known, sample)
    is_outlier = abs(log_perf - middle) > PERF_OUTLIER
    memory.perf[kind] = known if is_outlier else add_sample(known, log_perf)
    if worker.dlperf > 0 and not is_outlier:
        key = str(worker.autogroup_id)
        moments = memory.perf_per_dlperf.get(key, [0.0, 0.0, 0.0])
        memory.perf_per_dlperf[key] = add_sample(moments, log_perf - math.log(worker.dlperf))


def learned_perfs(memory: ScalingMemory) -> dict[tuple[int, str], float]:
    """Perf of machines that were there before, by (autogroup, GPU type): of two at least."""
    return {
        (int(autogroup), gpu_type): math.exp(min(mean, MAX_LOG_PERF))
        for key, (n, mean, _) in memory.perf.items()
        for autogroup, _, gpu_type in [key.partition("|")]
        if n >= LEARNED_N and autogroup.isdigit()
    }


def _learn_typical_worker(memory: ScalingMemory, workers: Sequence[WorkerFacts]) -> None:
    measured = [worker for worker in workers if worker.perf > 0]
    if not measured:
        return
    perf = sum(worker.perf for worker in measured) / len(measured)
    if perf * DISPROVED < memory.worker_perf:
        _forget_disproved(memory, perf / memory.worker_perf)
    memory.worker_perf = perf
    slots = [worker.slots for worker in measured if worker.slots > 0]
    memory.worker_slots = sum(slots) / len(slots) if slots else 0.0


def _forget_disproved(memory: ScalingMemory, part: float) -> None:
    """A claim of speed is gone, and with it what was counted in its slots.

    Nobody vouches for the only worker of a group: while it claims 1e12, each of its busy slots
    counts as a share of that, and hours of reserve were rented for it afterwards.
    """
    memory.mean_raw *= part
    memory.mean_occupancy *= part
    memory.square_rise *= part * part
    for peaks in (memory.peaks, memory.hour_peaks):
        peaks[:] = [[at, value * part] for at, value in peaks]
