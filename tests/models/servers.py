"""Real model servers as processes of a test: started, asked until they answer, ended as a group."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 400.0


class ServerError(Exception):
    """A server did not start; the message has its last lines."""


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_tiny_llama(python: Path, folder: Path) -> Path:
    """A model of random weights, made by the server's own Python."""
    subprocess.run(
        [python, "-m", "tests.models.tiny_llama", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


class RealServer:
    """One process group and its log."""

    health_path = "/health"

    def __init__(self, command: list[str], env: dict[str, str], log: Path, port: int) -> None:
        self.command = command
        self.env = env
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes]

    def command_text(self) -> str:
        """The command as a person would type it."""
        return " ".join(self.command)

    def start(self) -> None:
        """Start it in a process group of its own."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.env},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_ready(self) -> float:
        """Seconds until the health route answers 200.

        Raises:
            ServerError: it ended, or took too long.
        """
        began = time.monotonic()
        while time.monotonic() - began < START_LIMIT_S:
            if self.process.poll() is not None:
                break
            with suppress(requests.RequestException):
                if requests.get(self.url + self.health_path, timeout=2).status_code == 200:
                    return time.monotonic() - began
            time.sleep(0.2)
        raise ServerError("\n".join(self.log_lines()[-20:]))

    def stop(self) -> None:
        """End the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    @contextmanager
    def running(self) -> Iterator[RealServer]:
        """Ready inside the block, gone after it."""
        self.start()
        try:
            self.wait_until_ready()
            yield self
        finally:
            self.stop()

    def log_lines(self) -> list[str]:
        """What it printed."""
        return self.log.read_text(errors="replace").splitlines()


class VllmServer(RealServer):
    """vLLM on the CPU; `cache` keeps its compiled code from start to start."""

    def __init__(
        self, python: Path, model: Path, cache: Path, port: int, flags: tuple[str, ...] = ()
    ) -> None:
        command = [
            *("nice", str(python.with_name("vllm")), "serve", str(model)),
            *("--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)),
            *("--max-model-len", "512", "--max-num-seqs", "8", *flags),
        ]
        env = {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "OMP_NUM_THREADS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CACHE_ROOT": str(cache),
            "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        }
        # Killed, it leaves its sockets; a path of pytest's is too long for one.
        self._sockets = Path(tempfile.gettempdir(), f"vllm-{port}")
        env["VLLM_RPC_BASE_PATH"] = str(self._sockets)
        super().__init__(command, env, cache.with_suffix(f".{port}.log"), port)

    def start(self) -> None:
        """Start it, with a folder for its sockets."""
        self._sockets.mkdir(exist_ok=True)
        super().start()

    def stop(self) -> None:
        """End the whole group, and the sockets with it."""
        super().stop()
        shutil.rmtree(self._sockets, ignore_errors=True)


class ComfyServer(RealServer):
    """ComfyUI from a checkout, on the CPU, with folders of its own and this folder's nodes."""

    health_path = "/system_stats"

    def __init__(self, python: Path, checkout: Path, base: Path, port: int) -> None:
        for name in ("custom_nodes", "input", "output", "temp", "models", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)
        nodes = Path(__file__).parent / "nodes" / "ballast_test_nodes.py"
        (base / "custom_nodes" / nodes.name).write_text(nodes.read_text())
        command = [
            *("nice", str(python), str(checkout / "main.py"), "--cpu", "--disable-auto-launch"),
            *("--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)),
        ]
        super().__init__(command, {}, base / "comfyui.log", port)
