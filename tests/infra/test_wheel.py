"""What `pip install .` gives somebody who only wants a client, and what each extra adds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
WALK = """
import click
from click.testing import CliRunner
from ballast.cli.root import root

def walk(command, words):
    outcome = CliRunner().invoke(root, [*words, "--help"])
    print(outcome.exit_code, *words)
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                walk(command.get_command(context, name), [*words, name])

walk(root, [])
"""

pytestmark = pytest.mark.xdist_group("wheel")


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command without this checkout on its path."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd or "/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PIP_NO_INPUT": "1"} | pip_settings(),
        capture_output=True,
        text=True,
        check=False,
    )


def pip_settings() -> dict[str, str]:
    """Where this machine's pip finds packages."""
    kept = ("PIP_", "SSL_", "REQUESTS_", "HTTP", "http", "NO_PROXY", "no_proxy", "XDG_")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what the repository holds, built beside it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("ballast", "chalicelib", "workers"):
        leave_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=leave_out)
    for name in ("pyproject.toml", "README.md", "LICENSE", "app.py", "requirements.in"):
        shutil.copy(ROOT / name, source / name)
    for name in ("lab", "fakes", "infra", "docs", "tests"):  # to be left out
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    built = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", out, ".", cwd=source)
    assert built.returncode == 0, built.stderr
    return next(out.glob("ballast-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel with its base dependencies, and nothing else."""
    home = tmp_path_factory.mktemp("client")
    assert run(sys.executable, "-m", "venv", "--without-pip", home).returncode == 0
    install(home / "bin/python", wheel)
    return home / "bin/python"


def install(python: Path, what: str | Path) -> None:
    """Install something there, by the pip of here: a pip of its own would take longer than all."""
    pip = (sys.executable, "-m", "pip", "--python", python)
    installed = run(*pip, "install", "-q", "--no-compile", what)
    assert installed.returncode == 0, installed.stderr


def add_extra(python: Path, extra: str) -> None:
    """What `pip install 'ballast[extra]'` adds, linked from here: pip would unpack 4,000 files.

    What is here must be what the wheel asks for.
    """
    site = next(python.parent.parent.glob("lib/python3*/site-packages"))
    wheels = metadata.Distribution.at(next(site.glob("ballast-*.dist-info")))
    asked = [(Requirement(line), extra) for line in wheels.requires or ()]
    while asked:
        requirement, of = asked.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": of}):
            continue
        found = metadata.distribution(requirement.name)
        assert requirement.specifier.contains(found.version), requirement
        tops = {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}
        new = [top for top in tops if not (site / top).exists()]
        for top in new:
            (site / top).symlink_to(str(found.locate_file(top)))
        if new:
            extras = requirement.extras or {""}
            asked += [(Requirement(line), one) for line in found.requires or () for one in extras]


def test_the_wheel_holds_three_packages_and_what_they_read(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"ballast", "chalicelib", "workers"}
    assert {
        "ballast/py.typed",
        "ballast/simulator/markets/default.toml",
        "chalicelib/dashboard/index.html",
        "workers/launch/start.sh",
        "workers/launch/requirements.lock",
        "workers/tgi/template.json",
    } <= set(names)


def test_a_client_needs_requests_and_nothing_else(python: Path) -> None:
    listed = run(sys.executable, "-m", "pip", "--python", python, "list", "--format", "json")
    packages = {row["name"].lower() for row in json.loads(listed.stdout)}
    requests_and_its_own = {"requests", "certifi", "charset-normalizer", "idna", "urllib3"}
    assert packages == requests_and_its_own | {"ballast"}
    code = "from ballast import AsyncClient, Client; print(Client.__name__, AsyncClient.__name__)"
    assert run(python, "-c", code).stdout == "Client AsyncClient\n"


@pytest.mark.parametrize(
    "module", ["workers.tgi.client", "workers.comfyui.client", "workers.tgi.test_load"]
)
def test_clients_and_load_tests_run_on_it(python: Path, module: str) -> None:
    told = run(python, "-m", module, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert "usage" in told.stdout.lower()


def test_the_command_says_what_to_install(python: Path) -> None:
    for command in ([python.parent / "ballast"], [python, "-m", "ballast"]):
        told = run(*command, "status")
        assert told.returncode == 2
        assert re.fullmatch(r"ballast: \w+ is not .*: pip install 'ballast\[cli\]'\n", told.stderr)


def test_the_simulator_says_what_to_install(python: Path) -> None:
    told = run(python, "-m", "ballast.simulator", "--help")
    assert told.returncode == 1
    assert "pip install 'ballast[simulator]'" in told.stderr


def test_every_command_helps_with_the_extra_alone(python: Path) -> None:
    add_extra(python, "cli")
    walked = run(python, "-c", WALK)
    lines = walked.stdout.splitlines()
    assert len(lines) > 40, walked.stderr
    assert [line for line in lines if not line.startswith("0")] == []
    told = run(python, "-m", "ballast.simulator", "--help")
    assert (told.returncode, told.stderr) == (0, "")
    code = (
        "from ballast.simulator.policies import make_policy, PolicyError\n"
        "try: make_policy('ballast-whole')\n"
        "except PolicyError as error: print(error)"
    )
    assert "run it in a checkout" in run(python, "-c", code).stdout
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in run(python.parent / "ballast", "--version").stdout


def test_the_lambda_extra_is_what_lambda_gets() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        line for line in (ROOT / "requirements.in").read_text().splitlines() if line[:1].isalpha()
    ]
    assert sorted(project["optional-dependencies"]["lambda"]) == sorted(asked)
