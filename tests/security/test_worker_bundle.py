"""What lies around in the owner's checkout or environment never travels to a rented machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.security.canaries import Canary, Evidence
from workers.bundle import ROOT, build_bundle

SECRET = "canary-of-the-owner"
LYING_AROUND = (
    ".env",
    "workers/.env",
    "workers/tgi/hf_token.txt",
    "workers/tgi/.env",
    "workers/launch/id_rsa",
    "chalicelib/wire/notes.md",
    "chalicelib/settings_of_mine.py",
)


def test_the_bundle_holds_nothing_that_lies_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("workers", "chalicelib"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in LYING_AROUND:
        (tmp_path / name).write_text(SECRET)
    for variable in ("HF_TOKEN", "VAST_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, SECRET)
    shipped, canary = Evidence(), Canary("owner's secret", SECRET.encode())
    shipped.add("bundle", build_bundle(tmp_path).data)
    assert not shipped.leaks([canary])
    (tmp_path / "workers" / "tgi" / "server.py").write_text(SECRET)
    shipped.add("bundle with a planted secret", build_bundle(tmp_path).data)
    assert shipped.leaks([canary]) == {("bundle with a planted secret", canary.name)}
