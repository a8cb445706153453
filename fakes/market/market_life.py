"""The lives of the pretend market's instances: one queue of events, in market time.

Delays and chances are drawn per instance from the seed, so that one instance's life does not depend
on what happens to others. `time_scale` shortens every delay.
"""

from __future__ import annotations

import math
import random

from fakes.market.market_config import MarketConfig
from fakes.market.market_events import EventQueue, Happening
from fakes.market.market_faults import Fault, FaultBoard
from fakes.market.market_instance import InstanceDriver, MarketInstance
from fakes.market.market_machines import usual_load_s
from fakes.market.market_meter import Meter

UNAVAILABLE = "resources_unavailable"
OUTBID_SHOWS_S = 12.0  # until actual_status follows intended_status (record bid-outbid-12-s)
_RETRY_S = 60.0  # how often the market looks again whether a queued start is possible


class Lives:
    """All living instances and what will happen to them."""

    def __init__(
        self, config: MarketConfig, seed: int, faults: FaultBoard, driver: InstanceDriver
    ) -> None:
        self.instances: dict[int, MarketInstance] = {}
        self.gone: list[MarketInstance] = []  # oldest first
        self.meter = Meter()
        self.time_scale = 1.0
        self.dead_machines: set[int] = set()
        self.let_until: dict[int, float] = {}  # machine → when somebody else leaves it
        self._holders: dict[int, int] = {}  # machine → our instance that has its GPUs
        self._events = EventQueue()
        self._config, self._seed, self._faults, self._driver = config, seed, faults, driver

    def is_free(self, machine_id: int, now: float) -> bool:
        """Whether the machine's GPUs can be had now."""
        return (
            machine_id not in self.dead_machines
            and machine_id not in self._holders
            and self.let_until.get(machine_id, 0.0) <= now
        )

    def next_event_at(self) -> float | None:
        """When something will happen by itself, or None."""
        return self._events.next_at()

    def advance(self, now: float) -> None:
        """Let everything happen that is due."""
        for event in self._events.due(now):
            event.happen(event.instance, event.at)
            self._changed(event.instance, event.at)

    def begin(self, instance: MarketInstance, now: float, *, is_stopped: bool = False) -> None:
        """A contract was made; a stopped one costs storage and waits for a start."""
        self.instances[instance.instance_id] = instance
        instance.placement = self._driver.place(instance)
        self._events.push(instance.ends_at, instance, self._end, is_certain=True)
        if is_stopped:
            self._park(instance)
        else:
            self._holders[instance.machine.machine_id] = instance.instance_id
            self._after(self._config.timings.create_s, instance, self._load, now)
        self._changed(instance, now)

    def start(self, instance: MarketInstance, now: float) -> str:
        """Start; gives "" or why it has to wait. One that waits starts by itself later."""
        if instance.intended_status == "running" and instance.has_gpu:
            return ""
        instance.intended_status = instance.next_state = "running"
        instance.rebid_while_outbid = False
        instance.version += 1
        odds = self._config.odds
        if self._faults.strikes(Fault.START_STUCK) or self._happens(instance, odds.start_stuck):
            self._wait(instance, now)
            return ""
        if self._faults.strikes(Fault.START_REFUSED) or self._happens(instance, odds.start_refused):
            self._let_elsewhere(instance, now)
        elif not instance.has_ended and self._can_have_gpu(instance, now):
            self._restart(instance, now)
            self._changed(instance, now)
            return ""
        self._wait(instance, now)
        self._after(_RETRY_S, instance, self._retry, now)
        return UNAVAILABLE

    def stop(self, instance: MarketInstance, now: float) -> None:
        """Stop, or give up a start that waits."""
        was_up = instance.actual_status == "running"
        instance.is_outbid = instance.rebid_while_outbid = False
        instance.intended_status = instance.next_state = "stopped"
        instance.version += 1
        if not instance.has_gpu:
            self._park(instance)
        else:
            if was_up:
                self._driver.stopping(instance, now)
            self._after(self._config.timings.stop_s, instance, self._stopped, now)
        self._changed(instance, now)

    def reboot(self, instance: MarketInstance, now: float) -> bool:
        """Restart the container on its GPU; False if it is not up."""
        should_run = instance.intended_status == "running" and instance.has_gpu
        can_run = instance.actual_status in ("running", "exited") and not instance.is_offline
        if not (should_run and can_run):
            return False
        if instance.actual_status == "running":
            self._driver.stopping(instance, now)
        self._restart(instance, now)
        instance.actual_status = "rebooting"
        self._changed(instance, now)
        return True

    def destroy(self, instance: MarketInstance, now: float) -> None:
        """End the contract; it is listed a moment longer."""
        if not instance.is_destroyed:
            instance.is_destroyed = True
            instance.version += 1
            gone_at = now + self._config.timings.destroy_s / self.time_scale
            self._events.push(gone_at, instance, self._gone, is_certain=True)

    def lose_machine(self, machine_id: int, now: float) -> None:
        """The host goes offline with all that is on it."""
        self.dead_machines.add(machine_id)
        for instance in self._on(machine_id):
            self._kill(instance, now)
            instance.is_offline = True
            self._changed(instance, now)

    def revive_machines(self, now: float) -> None:
        """All hosts come back; what should run there boots again."""
        machines, self.dead_machines = sorted(self.dead_machines), set()
        for instance in (i for m in machines for i in self._on(m) if not i.is_destroyed):
            instance.is_offline = False
            if instance.intended_status == "running" and instance.has_gpu:
                self._restart(instance, now)
            else:
                self._park(instance)
            self._changed(instance, now)

    def interrupt(self, instance: MarketInstance, now: float, *, is_let: bool = True) -> None:
        """The market stops an instance; its GPU is let to somebody else, unless told otherwise."""
        if instance.is_destroyed:
            return
        self._kill(instance, now)
        instance.intended_status = instance.next_state = "stopped"
        self._park(instance)
        if is_let:
            self._let_elsewhere(instance, now)
        self._changed(instance, now)

    def outbid(self, instance: MarketInstance, now: float) -> None:
        """An interruptible instance loses its GPU without notice; its disk stays, and is billed.

        The order in which a listing shows it is recorded (bid-outbid-1-s, bid-outbid-12-s).
        """
        if instance.is_destroyed or instance.is_outbid:
            return
        was_up = instance.actual_status == "running"
        self._kill(instance, now)
        self._release(instance)
        instance.is_outbid, instance.has_gpu = True, False
        instance.intended_status = instance.next_state = instance.cur_state = "stopped"
        if was_up:
            self._after(OUTBID_SHOWS_S, instance, self._shows_outbid, now)
        else:
            instance.actual_status = "exited"
        self._changed(instance, now)

    def resume(self, instance: MarketInstance, now: float) -> None:
        """Its bid wins again because somebody left: it boots by itself (bid-resumes-itself)."""
        if instance.is_destroyed or instance.has_ended or not self.is_free_for(instance, now):
            return
        instance.is_outbid = instance.rebid_while_outbid = False
        instance.intended_status = instance.next_state = "running"
        self._restart(instance, now)
        self._changed(instance, now)

    def is_free_for(self, instance: MarketInstance, now: float) -> bool:
        """Whether the instance's machine can be had."""
        return self._can_have_gpu(instance, now)

    def rebid(self, instance: MarketInstance, usd_per_hour: float, now: float) -> None:
        """Another bid, which is the price from now on."""
        instance.gpu_usd_per_hour = usd_per_hour
        instance.rebid_while_outbid = instance.is_outbid
        self._changed(instance, now)

    def relabel(self, instance: MarketInstance, label: str, now: float) -> None:
        """Change the label, on the bill too."""
        instance.label = label
        self._changed(instance, now)

    def shorten_contract(self, instance: MarketInstance, ends_at: float) -> None:
        """The contract ends earlier than agreed."""
        if ends_at < instance.ends_at:
            instance.ends_at = ends_at
            self._events.push(ends_at, instance, self._end, is_certain=True)

    # What happens by itself: methods named after the events.

    def _load(self, instance: MarketInstance, at: float) -> None:
        instance.actual_status, instance.cur_state = "loading", "running"
        instance.status_msg = f"Pulling from {instance.order.image}"
        timings, odds = self._config.timings, self._config.odds
        usual_s = usual_load_s(instance.machine, timings)
        load_s = self._lognormal(instance, usual_s, timings.load_sigma)
        if self._faults.strikes(Fault.LOAD_STUCK) or self._happens(instance, odds.load_stuck):
            return
        if self._faults.strikes(Fault.BOOT_ERROR) or self._happens(instance, odds.boot_error):
            self._after(load_s * self._dice(instance).uniform(0.2, 1.0), instance, self._fail, at)
            return
        self._after(load_s, instance, self._run, at)

    def _run(self, instance: MarketInstance, at: float) -> None:
        instance.actual_status, instance.status_msg = "running", "success, running"
        mean_life_s = self._config.odds.mean_life_s
        if mean_life_s > 0:
            self._after(self._dice(instance).expovariate(1 / mean_life_s), instance, self._die, at)
        self._driver.started(instance, at)

    def _fail(self, instance: MarketInstance, _at: float) -> None:
        instance.actual_status = "exited"
        instance.status_msg = "Error response from daemon: OCI runtime create failed"

    def _stopped(self, instance: MarketInstance, _at: float) -> None:
        self._park(instance)

    def _shows_outbid(self, instance: MarketInstance, _at: float) -> None:
        if instance.is_outbid:
            instance.actual_status = "exited"

    def _retry(self, instance: MarketInstance, at: float) -> None:
        is_refused = self._faults.is_on(Fault.START_REFUSED) or instance.has_ended
        if not is_refused and self.is_free(instance.machine.machine_id, at):
            self._restart(instance, at)
        else:
            self._after(_RETRY_S, instance, self._retry, at)

    def _die(self, instance: MarketInstance, at: float) -> None:
        self.lose_machine(instance.machine.machine_id, at)

    def _end(self, instance: MarketInstance, at: float) -> None:
        if instance.ends_at <= at and not instance.has_ended:
            instance.has_ended = True
            self.interrupt(instance, at)

    def _gone(self, instance: MarketInstance, at: float) -> None:
        self._release(instance)
        instance.gone_at = at
        del self.instances[instance.instance_id]
        self.gone.append(instance)
        self._driver.destroyed(instance, at)

    # Parts of transitions.

    def _can_have_gpu(self, instance: MarketInstance, now: float) -> bool:
        machine_id = instance.machine.machine_id
        keeps_it = instance.has_gpu and machine_id not in self.dead_machines
        return keeps_it or self.is_free(machine_id, now)

    def _wait(self, instance: MarketInstance, now: float) -> None:
        self._park(instance)
        instance.status_msg = "scheduling"
        self._changed(instance, now)

    def _restart(self, instance: MarketInstance, now: float) -> None:
        timings = self._config.timings
        self._holders[instance.machine.machine_id] = instance.instance_id
        instance.has_gpu, instance.version = True, instance.version + 1
        instance.actual_status, instance.cur_state = "loading", "running"
        delay_s = self._lognormal(instance, timings.restart_median_s, timings.restart_sigma)
        self._after(delay_s, instance, self._run, now)

    def _park(self, instance: MarketInstance) -> None:
        self._release(instance)
        instance.has_gpu = False
        instance.actual_status, instance.cur_state = "exited", "stopped"
        instance.status_msg = ""

    def _release(self, instance: MarketInstance) -> None:
        machine_id = instance.machine.machine_id
        if self._holders.get(machine_id) == instance.instance_id:
            del self._holders[machine_id]

    def _kill(self, instance: MarketInstance, now: float) -> None:
        if instance.actual_status in ("running", "rebooting"):
            self._driver.killed(instance, now)
        instance.version += 1

    def _let_elsewhere(self, instance: MarketInstance, now: float) -> None:
        mean_s = self._config.timings.let_elsewhere_s / self.time_scale
        leaves_at = now + self._dice(instance).expovariate(1 / mean_s)
        machine_id = instance.machine.machine_id
        self.let_until[machine_id] = max(leaves_at, self.let_until.get(machine_id, 0.0))

    def _on(self, machine_id: int) -> list[MarketInstance]:
        return [i for i in self.instances.values() if i.machine.machine_id == machine_id]

    def _changed(self, instance: MarketInstance, now: float) -> None:
        self.meter.set_rate(instance.instance_id, instance.label, instance.rate, now)

    # Time and chance.

    def _after(
        self, market_s: float, instance: MarketInstance, happen: Happening, now: float
    ) -> None:
        self._events.push(now + market_s / self.time_scale, instance, happen)

    def _dice(self, instance: MarketInstance) -> random.Random:
        instance.n_draws += 1
        return random.Random(f"{self._seed}/{instance.instance_id}/{instance.n_draws}")

    def _happens(self, instance: MarketInstance, odds: float) -> bool:
        return odds > 0 and self._dice(instance).random() < odds

    def _lognormal(self, instance: MarketInstance, median_s: float, sigma: float) -> float:
        return median_s * math.exp(self._dice(instance).gauss(0, sigma))
