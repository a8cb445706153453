"""A model server is one process group; its failures are told by their cause, however slow."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.world import until
from workers.pyworker.supervision.certificate import has_good_certificate, make_request, store
from workers.pyworker.supervision.child_process import ChildProcess
from workers.pyworker.supervision.restarts import RestartPolicy

ENGINE = "sleep 1000 & echo $! >> {engines}; "


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


class Kept:
    """A child that is kept running in the background of a test."""

    def __init__(self, script: str, log: Path | None = None) -> None:
        self.told: list[str] = []
        self.child = ChildProcess(
            name="the model server",
            command=("sh", "-c", script),
            env=dict(os.environ),
            report=self._tell,
            log=log,
            grace_s=0.5,
            policy=RestartPolicy(must_be_ready=True),
        )

    async def _tell(self, words: str) -> None:
        self.told.append(words)

    async def while_running(self, is_so: Callable[[], object], what: str) -> None:
        task = asyncio.create_task(self.child.keep_running())
        try:
            await until(is_so, what, 30)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def engines(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def test_what_a_dead_server_left_behind_is_killed_before_the_next_start(
    tmp_path: Path,
) -> None:
    """VLLM's engine lives on after `kill -9` of its API server, with all the GPU's memory."""
    path = tmp_path / "engines"
    kept = Kept(ENGINE.format(engines=path) + "exit 1")
    await kept.while_running(lambda: len(engines(path)) >= 2, "it starts again")
    await until(lambda: not any(map(is_alive, engines(path))), "no engine is left", 10)
    assert len(engines(path)) >= 2, "one of the first start, and one of the next"


async def test_a_server_that_is_declared_dead_is_killed_with_its_engine(tmp_path: Path) -> None:
    """VLLM after SIGTERM with streams open never ends by itself."""
    path = tmp_path / "engines"
    kept = Kept("trap '' TERM; " + ENGINE.format(engines=path) + "wait")

    def killed() -> bool:
        if len(engines(path)) == 1:
            kept.child.kill()
        return len(engines(path)) >= 2

    await kept.while_running(killed, "another one runs")
    await until(lambda: not any(map(is_alive, engines(path))), "no engine is left", 15)
    assert len(engines(path)) >= 2, "the killed one's, and one of the next start"


async def test_the_line_that_names_the_cause_is_told(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    words = "ValueError: To serve at least one request (16.0 GiB KV cache is needed)"
    script = f"echo 'noise'; echo '{words}'; echo 'RuntimeError: See root cause above.'; exit 1"
    kept = Kept(script, log)
    await kept.while_running(lambda: kept.told, "it is told")
    assert kept.told[0].startswith("the model server ended 3 times")
    assert "16.0 GiB KV cache is needed" in kept.told[0]


async def test_a_server_that_dies_of_a_request_is_told_without_the_request(tmp_path: Path) -> None:
    """What killed it may be a client's words, and the control plane must not read those."""
    script = 'echo "ValueError: cannot read my diary"; sleep 0.1; exit 1'
    kept = Kept(script, tmp_path / "model.log")

    def served() -> bool:
        kept.child.policy.note_ready()
        return bool(kept.told)

    await kept.while_running(served, "it is told")
    assert kept.told == ["the model server ended 3 times in 2 minutes (exit code 1)"]


@pytest.mark.parametrize("after_s", [1.0, 64.0, 240.0, 3600.0])
def test_a_server_that_fails_slowly_is_told_after_three_times(after_s: float) -> None:
    policy = RestartPolicy(must_be_ready=True)
    for n in range(1, 4):
        policy.note_end(n * after_s)
        assert policy.is_crash_loop == (n == 3)
    policy.note_ready()
    policy.note_end(10 * after_s)
    assert policy.n_unready == 0


async def test_a_log_that_cannot_be_written_keeps_nothing_from_running(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "engines"
    kept = Kept(ENGINE.format(engines=path) + "wait", tmp_path / "file" / "model.log")
    await kept.while_running(lambda: engines(path), "it runs")
    assert kept.told == []


def test_a_certificate_whose_key_is_another_ones_is_not_good(tmp_path: Path) -> None:
    from fakes.certificate_authority import CertificateAuthority

    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    authority = CertificateAuthority()
    private, request = make_request("203.0.113.7")
    store(cert, key, authority.sign(request), private)
    assert has_good_certificate(cert, key, "203.0.113.7", time.time())
    assert key.stat().st_mode & 0o777 == 0o600
    for other in (make_request("203.0.113.7")[0], b""):
        key.write_bytes(other)
        assert not has_good_certificate(cert, key, "203.0.113.7", time.time())
    assert sys.platform
