"""The environment that Vast gives a container, on one shared network (protocol.md D.1).

All instances share the host's ports here, so container port N cannot be the same number for all.
Each instance has a block of host ports instead. The worker's port (`WORKER_PORT`, 3000 unless the
template says otherwise) *is* the first of the block: a worker that binds `WORKER_PORT` binds the
port that is mapped, and both `VAST_TCP_PORT_3000` and `VAST_TCP_PORT_<WORKER_PORT>` name it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from fakes.market.market_instance import MarketInstance, Placement, container_ports
from lab.local.market import images

PROJECT_ROOT = Path(__file__).resolve().parents[3]
LOOPBACK = "127.0.0.1"
DEFAULT_WORKER_PORT = 3_000
PORTS_PER_INSTANCE = 10
WORKER_HTTP_OFFSET, MODEL_OFFSET, FIRST_OTHER_OFFSET = 1, 2, 3


def worker_port(env: Mapping[str, str]) -> int:
    """The container's port that the template means by its worker's."""
    text = env.get("WORKER_PORT", "")
    return int(text) if text.isdecimal() else DEFAULT_WORKER_PORT


def place_ports(env: Mapping[str, str], first_port: int) -> Placement:
    """The block's ports for the container's: the worker's first, others from the fourth on."""
    worker = f"{worker_port(env)}/tcp"
    others = [name for name in container_ports(env) if name != worker]
    if len(others) > PORTS_PER_INSTANCE - FIRST_OTHER_OFFSET:
        others = others[: PORTS_PER_INSTANCE - FIRST_OTHER_OFFSET]
    ports = {name: first_port + FIRST_OTHER_OFFSET + i for i, name in enumerate(others)}
    return Placement(LOOPBACK, {worker: first_port, **ports})


def container_environment(
    instance: MarketInstance, disk: Path, market_url: str = ""
) -> dict[str, str]:
    """What a process of this instance sees; nothing of our own environment but the search path.

    `market_url`: where the market signs certificates, for images that are known here.
    """
    env = {name: value for name, value in instance.order.env.items() if not name.startswith("-")}
    ports = instance.placement.ports
    first = ports[f"{worker_port(instance.order.env)}/tcp"]
    mapped = {f"VAST_TCP_PORT_{name.partition('/')[0]}": str(port) for name, port in ports.items()}
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if images.is_known(instance.order.image):
        env = images.environment(env, disk, market_url, first + MODEL_OFFSET)
        path = [str(disk / "bin"), *path]
    return {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        "HOME": str(disk),
        **env,
        "CONTAINER_ID": str(instance.instance_id),
        "VAST_CONTAINERLABEL": f"C.{instance.instance_id}",
        "PUBLIC_IPADDR": LOOPBACK,
        "WORKER_PORT": str(first),
        "WORKER_HTTP_PORT": str(first + WORKER_HTTP_OFFSET),
        "MODEL_PORT": str(first + MODEL_OFFSET),
        **mapped,
        f"VAST_TCP_PORT_{first}": str(first),
        "GPU_NAME": instance.machine.model.name,
        "NUM_GPUS": str(instance.machine.num_gpus),
        "RELATIVE_PERF": f"{instance.machine.relative_perf:.6f}",
        "DLPERF": f"{instance.machine.dlperf:.3f}",
    }
