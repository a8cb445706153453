"""docs/javascript.md: its code, as printed, gets a whole answer and a stream from a real worker."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.workers.test_other_clients import control_plane_url, grant_by
from tests.workers.world import world

PAGE = Path(__file__).parents[2] / "docs" / "javascript.md"
NODE = Path("/usr/bin/node")


@pytest.mark.skipif(not NODE.exists(), reason="needs node")
async def test_the_printed_code_runs_under_node(tmp_path: Path) -> None:
    library, program = re.findall(r"```js\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (tmp_path / "ballast.mjs").write_text(library)
    (tmp_path / "app.mjs").write_text(program)

    async with world(tmp_path) as it:
        grant_by(it)
        environment = {
            **os.environ,
            "BALLAST_URL": control_plane_url(it),
            "BALLAST_API_KEY": "KEY",
        }
        done = await asyncio.to_thread(
            subprocess.run,
            [str(NODE), "app.mjs"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert '"inputs":"Hi"' in lines[0].replace(" ", "")
    assert len(lines) > 1
