"""ballast/proxy/Containerfile, step by step without a container: a folder and a venv stand for it.

The image that it begins with, the user and the health check's clock are the container runtime's.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ballast.client.world import servers, wait_until
from tests.workers.world import free_port

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
FILE = ROOT / "ballast" / "proxy" / "Containerfile"
KNOWN = {"FROM", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}


def steps() -> list[tuple[str, str]]:
    """Instruction and the rest of its line."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    parted = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in parted]


def rests(name: str) -> list[str]:
    return [rest for one, rest in steps() if one == name]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The container's python, after its COPY and RUN steps."""
    folder = tmp_path_factory.mktemp("container")
    source = folder / "source"
    for rest in rests("COPY"):
        *names, target = rest.split()
        for name in names:
            to = Path(target.replace("/source", str(source), 1))
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, to)
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    (run,) = rests("RUN")
    done = [part.strip() for part in run.split("&&")]
    assert done.pop() == "useradd --uid 10001 ballast"  # root's, on a machine of its own
    for command in done:
        words = shlex.split(command.replace("/source", str(source)))
        subprocess.run(words, check=True, env={"PATH": f"{binaries}:/usr/bin:/bin"}, cwd=folder)
    assert not source.exists()
    yield binaries / "python"
    shutil.rmtree(folder)


def test_every_step_is_tried_here_or_the_runtimes_own() -> None:
    assert {name for name, _ in steps()} == KNOWN
    (image,) = rests("FROM")
    assert re.search(rf"python:{sys.version_info[0]}\.{sys.version_info[1]}\.\d+-", image)


def test_the_image_serves_is_healthy_and_ends_at_its_signal(python: Path, tmp_path: Path) -> None:
    entry = json.loads(rests("ENTRYPOINT")[0])
    check = json.loads(rests("HEALTHCHECK")[0].partition("CMD ")[2])
    assert entry[0] == check[0] == "python"
    (exposed,) = rests("EXPOSE")
    assert f":{exposed}/" in check[-1]
    port = free_port()
    healthy = [str(python), *check[1:-1], check[-1].replace(exposed, str(port))]
    with servers() as it:
        given = {"BALLAST_URL": it.control_plane_url, "BALLAST_API_KEY": "k", "HOME": str(tmp_path)}
        given |= {"BALLAST_ENDPOINT": "chat", "BALLAST_AFFINITY_KEY": "0" * 64}
        # A folder that holds no code of ours: all of it comes from what was installed.
        proxy = subprocess.Popen(
            [str(python), *entry[1:], "--port", str(port)], env=given, cwd=tmp_path
        )
        try:
            wait_until(lambda: subprocess.run(healthy, check=False).returncode == 0, "is healthy")
        finally:
            proxy.send_signal(getattr(signal, rests("STOPSIGNAL")[0]))
            assert proxy.wait(30) == 0
    assert subprocess.run(healthy, check=False, stderr=subprocess.DEVNULL).returncode != 0
