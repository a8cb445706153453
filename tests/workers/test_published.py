"""What is public of servers and images that cannot run here: TGI, SGLang, the templates' images."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import workers.openai.server
import workers.tgi.server
from ballast.templates import load_template, onstart, template_names
from chalicelib.wire.model_answers import error_of, status_of_error
from workers.openai.answers import READING as OPENAI
from workers.openai.answers import is_busy
from workers.pyworker.model.answers import Done, Reading
from workers.pyworker.model.engine_metrics import read_engine_metrics
from workers.pyworker.model.forwarding import outcome_of_error
from workers.pyworker.model.load_phases import LoadPhases
from workers.pyworker.model.model_log import Sign, sign_of
from workers.pyworker.registry import load_back_end
from workers.pyworker.reporting.load_ledger import Outcome
from workers.pyworker.supervision.supervisor import model_command
from workers.tgi.answers import READING as TGI

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models"
PUBLISHED: dict[str, Any] = json.loads((EVIDENCE / "published.json").read_text())
IMAGES: dict[str, Any] = json.loads((EVIDENCE / "images.json").read_text())
EVENTS = {"Content-Type": "text/event-stream"}


def streamed(body: str, reading: Reading = OPENAI) -> Done:
    reader = reading.reader(EVENTS)
    reader.feed(body.encode())
    return reader.done()


def test_every_fact_has_a_public_source_with_a_version() -> None:
    for name, facts in {**PUBLISHED, **IMAGES}.items():
        if isinstance(facts, dict):
            assert "github.com/" in facts["source"], name
            assert re.search(r"\([0-9a-f]{40}|@|docs|\.py|Dockerfile", facts["source"]), name


def test_sglangs_full_queue_inside_a_stream_is_a_refusal_and_no_error() -> None:
    full = streamed(PUBLISHED["sglang"]["queue_full_stream"])
    assert (full.error, full.error_status) == (PUBLISHED["sglang"]["queue_full"].split('"')[1], 503)
    assert is_busy(full.error.encode())
    wrong = streamed(PUBLISHED["sglang"]["bad_request_stream"])
    assert (wrong.error_status, is_busy(wrong.error.encode())) == (400, False)


def test_a_failure_of_tgis_engine_is_its_own_and_a_refusal_is_nobodys() -> None:
    """424 is "generation": a worker that failed each request that way looked well."""
    outcomes = {"422": Outcome.REFUSED, "424": Outcome.ERRORED, "429": Outcome.REJECTED}
    assert PUBLISHED["tgi"]["statuses"].keys() == outcomes.keys() | {"500"}
    assert PUBLISHED["tgi"]["statuses"]["424"] == "generation"
    generate = workers.tgi.server.BACK_END.routes[0]
    for status, outcome in {**outcomes, "500": Outcome.ERRORED}.items():
        assert outcome_of_error(int(status), b"", generate) is outcome


def test_a_stream_that_stopped_with_neither_reason_nor_done_is_broken() -> None:
    part = PUBLISHED["cut_streams"]["without_an_end"]
    assert streamed(part).is_broken
    assert not streamed(part.replace('"finish_reason":null', '"finish_reason":"stop"')).is_broken
    assert not streamed(part + "data: [DONE]\n\n").is_broken


def test_tgis_errors_say_whose_they_are_but_in_streamed_chats() -> None:
    tgi = PUBLISHED["tgi"]
    failed = streamed(f"data:{json.dumps(tgi['stream_error'])}\n\n", TGI)
    assert (failed.error_status, failed.error[:14]) == (500, "Request failed")
    assert status_of_error(tgi["overloaded"]) == 429
    assert (
        status_of_error({"error": "Input validation error: …", "error_type": "validation"}) == 422
    )
    chat = tgi["chat_stream_error"]
    assert chat["error"]["http_status_code"] == 422  # whatever it is
    assert (error_of(chat), status_of_error(chat)) == (chat["error"]["message"], 500)
    for line in tgi["launcher_errors"]:
        found = sign_of(f"Error: {line}", workers.tgi.server.BACK_END.log_markers)
        assert found == (Sign.ERROR, f"Error: {line}")


def test_sglangs_counters_are_read_from_its_documented_page() -> None:
    metrics = read_engine_metrics(PUBLISHED["sglang"]["metrics_page"])
    assert (metrics.running, metrics.waiting) == (162, 2826)
    assert (metrics.tokens_made, metrics.prefix_asked) == (7557572, 8128902)
    assert metrics.is_full


def test_a_dead_scheduler_of_sglang_is_its_own_word() -> None:
    markers = workers.openai.server.BACK_END.log_markers
    health, died, _ = PUBLISHED["sglang"]["scheduler_death"]
    assert sign_of(died, markers) == (Sign.ERROR, "Scheduler hit an exception")
    assert sign_of(health, markers) is None
    assert sign_of(f"[2026-07-25 14:35:09] prompt: {died[22:]}", markers) is None


def seconds(line: str) -> float:
    hours, minutes, rest = re.search(r"[T ](\d\d):(\d\d):(\d\d(?:\.\d+)?)", line).groups()  # type: ignore[union-attr]
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_tgis_start_is_told_by_its_parts() -> None:
    lines = PUBLISHED["tgi"]["start"]
    phases = LoadPhases(seconds(lines[0]))
    for line in lines:
        phases.see(line, workers.tgi.server.BACK_END.log_markers.phases, seconds(line))
    told = phases.durations_s(seconds(lines[-1]))
    assert told == {"starting": 1.82, "download": 5.437, "weights": 48.544, "warm-up": 16.979}
    assert sign_of(lines[-1], workers.tgi.server.BACK_END.log_markers) is not None


def test_a_download_that_is_told_at_its_end_is_a_part_of_its_own() -> None:
    marks = workers.openai.server.BACK_END.log_markers.phases
    phases = LoadPhases(0.0)
    phases.see("(EngineCore pid=1) INFO 04-24 12:34:57 [x.py:1] Starting to load model", marks, 5.0)
    phases.see(PUBLISHED["vllm_log"]["download"], marks, 22.0)
    phases.see("INFO [x.py:1] init engine took", marks, 30.0)
    phases.end(31.0)
    told = {"starting": 5.0, "download": 17.0, "weights": 8.0, "warm-up": 1.0}
    assert phases.durations_s(99.0) == told


@pytest.mark.parametrize("back_end", template_names())
def test_a_template_brings_what_its_image_lacks_and_starts_it_by_its_own_start(
    back_end: str,
) -> None:
    """An ssh launch calls no entry point: the launch script needs curl and Python 3.11."""
    template = load_template(back_end)
    image = IMAGES[template.image]
    first = onstart(template.setup)
    python = template.env.get("PYTHON", "python3")
    version = image["python"].get(python, "")
    brings_python = f"{python} {python}-venv" in template.setup
    assert brings_python or tuple(map(int, version.split("."))) >= (3, 11)
    assert brings_python == ("universe has python3.11" in image.get("distribution", ""))
    assert "curl" in image["programs"] or "install -qy curl" in first.splitlines()[1]
    assert template.tag in image["tags"] or re.fullmatch(r"v\d+\.\d+\.\d+", template.tag)
    words = model_command(load_back_end(back_end), {"MODEL_NAME": "m", **template.env})
    program = words[0] if words else ""
    if back_end == "tgi":
        assert [program] == image["entry"]
        assert words[words.index("--port") + 1] == "5001"
    if back_end == "openai":
        assert program in image["programs"]
    if back_end == "comfyui":
        assert template.env["COMFYUI_DIR"] == image["comfyui"]
        assert "COMFYUI_VENV_PYTHON" in image["env"]


def test_the_lines_that_a_template_runs_first_are_one_shell_line() -> None:
    for back_end in template_names():
        setup = load_template(back_end).setup
        assert "\n" not in setup
        assert shlex.split(setup, comments=True) == shlex.split(setup)
