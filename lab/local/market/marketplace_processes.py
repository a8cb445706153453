"""Instances as real local processes: `onstart` runs in a group of its own, on a disk of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from fakes.market.market_instance import MarketInstance, Placement
from lab.local.market import images
from lab.local.market.marketplace_environment import (
    LOOPBACK,
    PORTS_PER_INSTANCE,
    container_environment,
    place_ports,
)
from lab.local.processes.process_watchdog import ProcessWatchdog, end_group, end_groups

STOP_GRACE_S = 5.0
FIRST_PORT, LAST_PORT = 21_000, 32_000  # below the kernel's ephemeral ports
SPREAD = 379  # a prime: markets with neighbouring process ids begin far from each other
LOG_NAME = "container.log"


@dataclass(slots=True)
class _Container:
    process: subprocess.Popen[bytes]
    kill_at: float | None = None  # monotonic, once asked to stop


class ProcessDriver:
    """Implements `fakes.market.market_instance.InstanceDriver`; callers hold one lock."""

    def __init__(self, state_dir: Path, watchdog: ProcessWatchdog) -> None:
        self._state_dir = state_dir
        self._watchdog = watchdog
        self._containers: dict[int, _Container] = {}
        self._first_ports: dict[int, int] = {}  # instance → first port of its block
        self.market_url = ""  # once the market is served

    def place(self, instance: MarketInstance) -> Placement:
        """A free block of ports.

        Raises:
            OSError: no block is free.
        """
        first = self._find_block()
        self._first_ports[instance.instance_id] = first
        return place_ports(instance.order.env, first)

    def started(self, instance: MarketInstance, now: float) -> None:
        """Run `onstart` with bash, or the launch's `args`; what they print is the instance's log.

        An image without an entry point, as the probe's, runs its `args` as they are.
        """
        self._kill(instance.instance_id)
        disk = self.disk(instance.instance_id)
        disk.mkdir(parents=True, exist_ok=True)
        order = instance.order
        if images.is_known(order.image):
            images.install(order.image, disk)
        command = list(order.args) or (["bash", "-c", order.onstart] if order.onstart else [])
        if not command:
            return
        with self.log_path(instance.instance_id).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=disk,
                env=container_environment(instance, disk, self.market_url),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watchdog.watch(process.pid)
        self._containers[instance.instance_id] = _Container(process)

    def stopping(self, instance: MarketInstance, now: float) -> None:
        """SIGTERM to the group; SIGKILL after a grace."""
        container = self._containers.get(instance.instance_id)
        if container is not None and container.kill_at is None:
            end_group(container.process.pid, signal.SIGTERM)
            container.kill_at = time.monotonic() + STOP_GRACE_S

    def killed(self, instance: MarketInstance, now: float) -> None:
        """SIGKILL to the group."""
        self._kill(instance.instance_id)

    def destroyed(self, instance: MarketInstance, now: float) -> None:
        """SIGKILL to the group, and the disk is removed."""
        self._kill(instance.instance_id)
        self._first_ports.pop(instance.instance_id, None)
        shutil.rmtree(self._home(instance.instance_id), ignore_errors=True)

    def tick(self) -> None:
        """Kill what did not stop in time, and reap what ended."""
        for instance_id, container in list(self._containers.items()):
            is_due = container.kill_at is not None and container.kill_at <= time.monotonic()
            is_stopped = container.kill_at is not None and container.process.poll() is not None
            if is_due or is_stopped:
                self._kill(instance_id)

    def close(self) -> None:
        """End everything."""
        groups = [container.process.pid for container in self._containers.values()]
        end_groups(groups)
        for instance_id in list(self._containers):
            self._kill(instance_id)

    def disk(self, instance_id: int) -> Path:
        """The instance's working directory, kept until it is destroyed."""
        return self._home(instance_id) / "disk"

    def log_path(self, instance_id: int) -> Path:
        """What the container printed."""
        home = self._home(instance_id)
        home.mkdir(parents=True, exist_ok=True)
        return home / LOG_NAME

    def read_log(self, instance_id: int, n_lines: int) -> str:
        """The newest lines of the container's log."""
        text = (
            self.log_path(instance_id).read_text(errors="replace")
            if self._has_log(instance_id)
            else ""
        )
        return "\n".join(text.splitlines()[-n_lines:])

    def pid(self, instance_id: int) -> int | None:
        """The running container's process, for tests and the control API."""
        container = self._containers.get(instance_id)
        return container.process.pid if container else None

    def _has_log(self, instance_id: int) -> bool:
        return (self._home(instance_id) / LOG_NAME).exists()

    def _home(self, instance_id: int) -> Path:
        return self._state_dir / f"instance-{instance_id}"

    def _kill(self, instance_id: int) -> None:
        container = self._containers.pop(instance_id, None)
        if container is not None:
            end_group(container.process.pid, signal.SIGKILL)
            container.process.wait()
            self._watchdog.forget(container.process.pid)

    def _find_block(self) -> int:
        """Each process begins elsewhere: it cannot see what others' stopped instances hold."""
        taken = set(self._first_ports.values())
        blocks = range(FIRST_PORT, LAST_PORT, PORTS_PER_INSTANCE)
        begin = os.getpid() * SPREAD % len(blocks)
        for i in range(len(blocks)):
            first = blocks[(begin + i) % len(blocks)]
            if first not in taken and _is_free(first):
                return first
        raise OSError(f"no free block of {PORTS_PER_INSTANCE} ports in {FIRST_PORT}-{LAST_PORT}")


def _is_free(first: int) -> bool:
    for port in range(first, first + PORTS_PER_INSTANCE):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True
