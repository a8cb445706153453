"""Each line of the owners' shelf that needs no AWS and no Vast, run as printed on one system.

So are its Python blocks. The others are parsed: tests/test_shelf.py, tests/test_shelf_python.py.
Questions are answered with yes, at a terminal.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from docs.terminal import run_at_terminal
from lab.local.system.environment import DUMMY_VAST_KEY
from lab.local.system.local_system import LocalSystem, Options, local_system
from lab.local.system.owner import Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "docs/operating.md", "docs/interruptible.md", "docs/clients.md")
ELSEWHERE = {
    "ballast login": "asks for a key; tests/ballast/cli/test_connection.py",
    "ballast secret": "AWS Secrets Manager",
    "ballast doctor --stage": "AWS",
    "ballast template publish tgi": "gated at Hugging Face",
    "ballast watch": "until Ctrl-C; docs/tour.md",
    "ballast up Qwen": "tests/lab/local/test_model_by_name.py",
    "ballast down Qwen": "tests/lab/local/test_model_by_name.py",
    "python3 -m workers.tgi.test_load -n 1000": "a quarter of an hour",
    "python3 -m ballast.proxy": "until Ctrl-C; tests/ballast/client/test_proxy_service.py",
}
_LINE = re.compile(r"(?:\.venv/bin/)?(?:ballast |python3? -m (?:workers|ballast))")


def lines_of(page: str) -> Iterator[str]:
    """The command lines in a page's code blocks, without their comments."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if _LINE.match(line.strip()):
                yield re.split(r"\s+#", line.strip())[0]


@pytest.fixture(scope="module")
def shelf() -> Iterator[tuple[LocalSystem, Mapping[str, str]]]:
    options = Options(time_scale=30.0, round_interval_s=1.0)
    with local_system(options, print) as system:
        hashes = register_templates(system.market_url)
        bin_folder = str(Path(sys.executable).parent)
        yield (
            system,
            {
                **os.environ,
                "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
                "BALLAST_URL": system.url,
                "BALLAST_API_KEY": system.account_key,
                "API_KEY": system.account_key,
                "BALLAST_VAST_URL": system.market_url,
                "VAST_API_KEY": DUMMY_VAST_KEY,
                "TEMPLATE_HASH": hashes[TGI_SIMULATED.name],
                "COLUMNS": "120",
            },
        )


def group_file(template_hash: str) -> str:
    """The page's own file, with a template that is there instead of its shortened hashes."""
    text = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    (yaml,) = re.findall(r"```yaml\n(endpoint_name.*?)```", text, re.S)
    return re.sub(r"[0-9a-f]{8}…", template_hash, yaml)


PRELUDE = {
    "docs/clients.md": "",
    "docs/interruptible.md": 'from ballast.client.sdk import Client\nclient = Client("blk.…", url="https://…")\n',
}


def programs(url: str, key: str) -> Iterator[tuple[str, str]]:
    """The Python blocks of the pages for callers, with this system's address and key."""
    for page, prelude in PRELUDE.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for code in re.findall(r"```python\n(.*?)```", text, re.S):
            if "import openai" not in code:  # tests/ballast/client/test_documented_commands.py
                yield page, (prelude + code).replace("blk.…", key).replace("https://…", url)


def has_ready_worker(owner: Owner) -> bool:
    """Of the shelf's one group."""
    (group,) = owner.groups()
    return bool(owner.ready_workers(int(group["id"])))


def test_every_line_does_what_the_page_says(
    shelf: tuple[LocalSystem, Mapping[str, str]], tmp_path: Path
) -> None:
    system, environment = shelf
    owner = Owner(system.url, system.account_key)
    (tmp_path / "group.yaml").write_text(group_file(environment["TEMPLATE_HASH"]))
    ran, failed = 0, []
    for page in PAGES:
        for line in lines_of(page):
            plain = line.removeprefix(".venv/bin/").replace("python -m", "python3 -m")
            if any(plain.startswith(start) for start in ELSEWHERE):
                continue
            if "workers.tgi" in line:
                wait_until("a ready worker", lambda: has_ready_worker(owner), 240.0)
            # The page's id is an example; the first autogroup of this system stands for it.
            rows = owner.call("GET", "/api/v0/autojobs/")["results"]
            if rows:
                plain = plain.replace("autogroup 101", f"autogroup {rows[0]['id']}")
            words = ["bash", "-c", f"cd {tmp_path} && PYTHONPATH={ROOT} {plain}"]
            code, output = run_at_terminal(words, environment, ["y"] * 4)
            ran += 1
            if code != 0:
                failed.append(f"{page}: {line}: {code}\n{output[-600:]}")
    assert failed == []
    assert ran >= 12
    blocks = list(programs(system.url, system.account_key))
    assert len(blocks) >= 2
    for page, program in blocks:
        wait_until("a ready worker", lambda: has_ready_worker(owner), 240.0)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**environment, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{page}: {done.stderr[-900:]}"
        assert done.stdout.count("these") >= 2, f"{page}: {done.stdout[:900]}"
