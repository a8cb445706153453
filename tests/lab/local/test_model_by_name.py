"""`ballast up ORG/MODEL` on the local system: from a name to a served answer, and back to nothing.

Template, launch script, worker bundle, TLS, supervisor and llama.cpp are real; which small model
answers under the name: lab/local/market/images.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.local.model.image_programs import ProgramError, module_and_words
from lab.local.system.environment import DUMMY_VAST_KEY
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView
from tests.ballast.cli.hub import serve_hub

VLLM, LLAMA_CPP = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct-GGUF"
EMBEDS = "intfloat/multilingual-e5-small"
TIMEOUT_S = 400.0


def ballast(environment: Mapping[str, str], *words: str) -> tuple[str, str]:
    """What the command printed, and what it told beside; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "ballast", *words],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def owners(system: LocalSystem, folder: Path, hub: str = "") -> dict[str, str]:
    """The environment of an owner of the local system, whose models are described at `hub`."""
    return {
        **os.environ,
        "BALLAST_URL": system.url,
        "BALLAST_API_KEY": system.account_key,
        "BALLAST_CONFIG": str(folder / "config.json"),
        "BALLAST_VAST_URL": system.market_url,
        "VAST_API_KEY": DUMMY_VAST_KEY,
        "COLUMNS": "200",
        **({"HF_ENDPOINT": hub} if hub else {}),
    }


def run_printed(shown: str, system: LocalSystem, environment: Mapping[str, str]) -> str:
    """What the printed Python prints, run as it stands there, with the caller's own key."""
    python = re.search(r"^from ballast.*?^    print\(.*?$", shown, re.M | re.S)
    assert python, shown
    answered = subprocess.run(
        [sys.executable, "-c", python[0].replace("blk.…", system.account_key)],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answered.returncode == 0, answered.stderr
    return answered.stdout


@pytest.mark.parametrize("model", [VLLM, pytest.param(LLAMA_CPP, marks=pytest.mark.long)])
def test_a_models_name_becomes_a_url_that_answers_and_down_leaves_nothing(
    system: LocalSystem, tmp_path: Path, model: str
) -> None:
    with serve_hub() as hub:
        environment = owners(system, tmp_path, hub)
        shown, told = ballast(environment, "up", model, "--max-usd-per-hour", "2", "--yes")
    name = model.rpartition("/")[2]
    for words in ("of GPU memory", "first hour at most $", "Caps leave", "loads the model"):
        assert words in told
    assert re.search(r"instance \d+: ready", told)
    assert re.search(r"first answer: \S+", told)

    answered = run_printed(shown, system, environment)
    assert "'content'" in answered
    assert f"'model': {model!r}" in answered

    ballast(environment, "down", name, "--yes")
    assert not MarketView(system.market_url).instances(name)


@pytest.mark.long
def test_an_embedding_models_name_becomes_a_vector(system: LocalSystem, tmp_path: Path) -> None:
    with serve_hub() as hub:
        environment = owners(system, tmp_path, hub)
        shown, told = ballast(environment, "up", f"https://huggingface.co/{EMBEDS}", "--yes")
    assert "first answer: 1 vector of 384 numbers" in told
    answered = run_printed(shown, system, environment)
    assert f"'model': {EMBEDS!r}" in answered
    assert "/v1/embeddings" in shown, "the curl line asks for a vector too"
    ballast(environment, "down", EMBEDS.rpartition("/")[2], "--yes")


@pytest.mark.long
def test_an_image_models_name_becomes_a_picture(system: LocalSystem, tmp_path: Path) -> None:
    environment = owners(system, tmp_path)
    model = "stabilityai/stable-diffusion-xl-base-1.0"
    shown, told = ballast(environment, "up", model, "--memory-gb", "24", "--yes")
    assert "with comfyui (by its name alone; else --back-end)" in told
    assert re.search(r"first answer: 1 image, [\d.]+ kB", told)
    python = re.search(r"^import base64.*?\n    open\(.*?$", shown, re.M | re.S)
    assert python, shown
    subprocess.run(
        [sys.executable, "-c", python[0].replace("blk.…", system.account_key)],
        env={**environment, "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        timeout=120,
        check=True,
    )
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG")
    ballast(environment, "down", "stable-diffusion-xl-base-1.0", "--yes")


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (("vllm", "serve", "org/name", "--port", "18000"), ["--port", "7", "--alias", "org/name"]),
        (
            ("llama-server", "--hf-repo", "org/g", "--port", "1"),
            ["--port", "7", "--alias", "org/g"],
        ),
        (("tgi-entrypoint.sh", "--model-id", "org/t"), ["--port", "7"]),
    ],
)
def test_a_stand_in_answers_under_the_models_name(words: tuple[str, ...], own: list[str]) -> None:
    assert module_and_words(words[0], words[1:], "7")[1] == own


@pytest.mark.parametrize("words", [("vllm",), ("vllm", "run", "x"), ("llama-server",), ("ollama",)])
def test_a_stand_in_refuses_words_that_name_no_model(words: tuple[str, ...]) -> None:
    with pytest.raises(ProgramError):
        module_and_words(words[0], words[1:], "7")
