"""What an owner publishes and what an instance fetches: the same bytes, checked before they run."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ballast.templates import (
    TemplateError,
    load_template,
    onstart,
    template_names,
)
from chalicelib.wire.vast import MAX_ONSTART_CHARS
from workers.bundle import ROOT, build_bundle, write_bundle
from workers.comfyui.cost import RTX_4090_S
from workers.pyworker.registry import BackEndError, back_end_names, load_back_end


def names_in(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        return archive.getnames()


def test_the_bundle_is_the_same_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    for folder in ("workers", "chalicelib"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for path in tmp_path.rglob("*.py"):
        os.utime(path, (1, 1))
    bundle = build_bundle()
    assert build_bundle(tmp_path) == bundle
    assert hashlib.sha256(bundle.data).hexdigest() == bundle.sha256


def test_the_bundle_has_what_a_worker_needs_and_nothing_of_the_control_plane() -> None:
    names = names_in(build_bundle().data)
    assert {
        "requirements.lock",
        "start.sh",
        "tracing.lock",
        "workers/tgi/server.py",
        "chalicelib/wire/ticket.py",
    } <= set(names)
    assert not [n for n in names if n.startswith(("chalicelib/core", "client", "tests"))]
    assert not [n for n in names if n.endswith(("/test_load.py", "/client.py"))]


def test_a_worker_runs_from_the_bundle_alone(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(build_bundle().data))) as archive:
        archive.extractall(tmp_path, filter="data")
    for name in back_end_names():
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import workers.{name}.server, workers.pyworker.supervision.supervisor",
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONSAFEPATH": "", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_spans_need_nothing_but_what_their_own_lock_holds() -> None:
    lock = (ROOT / "workers" / "launch" / "tracing.lock").read_text()
    entries = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert "opentelemetry-sdk==1.45.2" in lock
    assert "opentelemetry" not in (ROOT / "workers" / "launch" / "requirements.lock").read_text()
    assert "opentelemetry" not in (ROOT / "requirements.txt").read_text()  # nor in Lambda


def test_every_locked_dependency_has_a_hash() -> None:
    lock = (ROOT / "workers" / "launch" / "requirements.lock").read_text()
    entries = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(entries) > 5
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert "aiohttp==3.14.5" in lock
    assert "cryptography==49.0.0" in lock


def test_every_back_end_is_listed_by_itself_and_has_a_template() -> None:
    assert back_end_names() == template_names() == ["comfyui", "hello_world", "openai", "tgi"]
    for name in back_end_names():
        assert load_back_end(name).name == name
        assert (ROOT / "workers" / name / "README.md").is_file()
    with pytest.raises(BackEndError, match="one of: comfyui, hello_world, openai, tgi"):
        load_back_end("pyworker")


def test_a_gated_model_without_a_token_is_warned_about_before_renting() -> None:
    template = load_template("tgi")
    gated = {"MODEL_ID": "meta-llama/Meta-Llama-3-8B-Instruct"}
    assert "gated" in template.warnings(gated)[0]
    assert template.warnings({**gated, "HF_TOKEN": "hf_x"}) == []
    assert template.warnings({"MODEL_ID": "Qwen/Qwen3-8B"}) == []


def test_a_template_becomes_vasts_request() -> None:
    request = load_template("tgi").to_request({"MODEL_ID": "a/b", "HF_TOKEN": "hf x'y"}, "0" * 64)
    assert request["private"] is True
    assert "-p 3000:3000" in str(request["env"])
    assert "-e BACKEND=tgi" in str(request["env"])
    assert "-e HF_TOKEN='hf x'\"'\"'y'" in str(request["env"])
    assert request["onstart"] == onstart()


@pytest.mark.parametrize("env", [{}, {"MODEL_ID": "a\nb"}, {"MODEL_ID": "a", "A B": "c"}])
def test_a_template_that_could_not_work_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(TemplateError):
        load_template("tgi").to_request(env, "0" * 64)


def test_a_model_that_the_back_end_does_not_know_is_refused_before_renting() -> None:
    comfyui = load_template("comfyui")
    assert set(comfyui.models) == set(RTX_4090_S)
    assert comfyui.to_request({"COMFY_MODEL": "sd3"}, "0" * 64)
    with pytest.raises(TemplateError, match="nonsense is not known; one of: flux, sd3"):
        comfyui.to_request({"COMFY_MODEL": "nonsense"}, "0" * 64)


def test_the_launch_script_fits_into_a_template() -> None:
    assert len(onstart().encode()) <= MAX_ONSTART_CHARS
    assert onstart().startswith("#!/bin/sh\n")


def test_bundles_written_at_once_leave_one_whole_archive(tmp_path: Path) -> None:
    """Two systems that start in a new checkout both build it."""
    with ThreadPoolExecutor(8) as pool:
        bundles = list(pool.map(write_bundle, [tmp_path] * 32))
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == bundles[0].data
