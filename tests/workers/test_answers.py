"""What an answer tells of itself: work done, errors under 200; by recorded answers of real vLLM."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ballast.client.in_band import ErrorWatch
from chalicelib.wire.reports import WorkerReport
from chalicelib.wire.token_cost import PROMPT_SHARE
from workers.openai.answers import READING, is_busy, is_clients_fault
from workers.openai.flags import vllm_words
from workers.pyworker.model.answers import Done, PromptRead
from workers.pyworker.model.engine import Engine
from workers.pyworker.model.engine_metrics import EngineMetrics, LearnedSlots, read_engine_metrics
from workers.pyworker.model.model_log import Sign, cause_in, sign_of
from workers.pyworker.readiness import Readiness
from workers.pyworker.reporting.cache_window import CacheWindow
from workers.pyworker.reporting.load_ledger import LoadLedger, Outcome, RequestFacts
from workers.pyworker.reporting.messages import DiskUsage, Reporter, status_report
from workers.tgi.answers import READING as TGI_READING

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models"
VLLM: dict[str, Any] = json.loads((EVIDENCE / "vllm-0.32.0.json").read_text())


def read(exchange: dict[str, Any], piece: int) -> Done:
    """A recorded answer, read in pieces of so many bytes."""
    headers = {name.title(): value for name, value in exchange["headers"].items()}
    reader = READING.reader(headers)
    data = exchange["answer"].encode()
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
    return reader.done()


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("chat", 8),
        ("chat_n", 12),  # three choices of four
        ("completion_list", 24),  # three prompts of eight
        ("completion_echo_zero", 1),  # so vLLM says
        ("responses", 8),
        ("chat_stream_usage", 4),
        ("chat_stream", 4),  # four events with a token, the last one empty, after the role's
        ("completion_stream", 3),  # no usage in it: its events are counted
    ],
)
def test_what_vllm_generated_is_read_from_its_answer(name: str, work: float, piece: int) -> None:
    done = read(VLLM["exchanges"][name], piece)
    assert (done.work, done.error) == (work, "")


@pytest.mark.parametrize("piece", [1, 4096])
def test_an_engine_that_dies_under_a_stream_is_an_error_under_200(piece: int) -> None:
    exchange = VLLM["exchanges"]["stream_engine_killed"]
    assert exchange["status"] == 200
    assert exchange["answer"].rstrip().endswith("[DONE]")
    streamed = {**exchange, "headers": {"content-type": "text/event-stream; charset=utf-8"}}
    assert read(streamed, piece).error.startswith("EngineCore encountered an issue")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": {"message": "no such model"}}', "no such model"),
        (b'{"detail": [{"loc": ["body"], "msg": "Field required"}]}', "Field required"),
        (b'{"detail": null}', "detail"),
        (b'{"detail": "high", "image": "aGk="}', ""),  # a field of an answer
    ],
)
def test_nothing_but_a_detail_is_fastapis_error_whatever_the_status(
    body: bytes, words: str
) -> None:
    reader = READING.reader({"Content-Type": "application/json"})
    reader.feed(body)
    assert words in (error := reader.done().error)
    assert bool(error) == bool(words)


def test_an_error_of_tgi_inside_a_stream_and_its_count() -> None:
    stream = TGI_READING.reader({"Content-Type": "text/event-stream"})
    stream.feed(b'data:{"error":"Request failed during generation","error_type":"generation"}\n\n')
    assert stream.done().error == "Request failed during generation"
    whole = TGI_READING.reader({"Content-Type": "application/json", "x-generated-tokens": "10"})
    whole.feed(b'{"generated_text":"x","details":{"generated_tokens":10}}')
    assert whole.done() == Done(10.0)


@pytest.mark.parametrize("reason", ["abort", "error", "stop", "length", "repetition"])
def test_an_answer_that_the_engine_cut_off_is_an_error(reason: str) -> None:
    """The reasons are vLLM 0.32's FINISH_REASON_STRINGS; a text that holds such a word is none."""
    choice = {"text": ' "abort" \\"finish_reason\\":"abort"', "finish_reason": reason}
    answer = json.dumps({"choices": [choice], "usage": {"completion_tokens": 3}}).encode()
    stream = b"data: " + answer + b"\n\ndata: [DONE]\n\n"
    for kind, data in (("application/json", answer), ("text/event-stream", stream)):
        reader = READING.reader({"Content-Type": kind})
        reader.feed(data)
        done = reader.done()
        assert (done.work, done.is_broken) == (3.0, False)
        watch = ErrorWatch(kind)
        watch.take(data)
        assert bool(done.error) == bool(watch.end()) == (reason in ("abort", "error"))


ANSWER = b'{"choices": [], "usage": {"completion_tokens": 7}}'
STREAM = b'data: {"choices":[{"text":"a","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
HUGE = (
    b'data: {"choices":[{"delta":{"content":"' + b"a" * 300_000 + b'"},"finish_reason":"stop"}]}\n'
)


@pytest.mark.parametrize(
    ("kind", "encoding", "body", "work", "is_broken"),
    [
        ("application/json", "", ANSWER, 7.0, False),
        ("text/event-stream", "", ANSWER, 7.0, False),  # wrong types, right answers
        ("application/json", "", STREAM, 1.0, False),
        ("application/json; charset=utf-8", "", b": waiting\n\n" + STREAM, 1.0, False),
        ("", "", STREAM, 1.0, False),
        ("text/event-stream", "", HUGE, 1.0, False),
        ("application/json", "", b'[{"index": 0}]', None, False),  # a list of ranks
        ("text/plain", "", b"a transcript", None, False),
        ("application/json", "", b"null", 0.0, True),
        ("application/json", "", b"true", 0.0, True),
        ("application/json", "", b'"ok"', 0.0, True),
        ("application/json", "", b"Internal Server Error", 0.0, True),
        ("application/json", "", b"", 0.0, True),
        ("", "", b"", 0.0, True),
        ("text/html", "", b"<h1>", 0.0, True),
        ("application/json", "gzip", ANSWER, 0.0, True),
        ("application/json", "", gzip.compress(ANSWER, mtime=0), 0.0, True),
        ("application/json", "gzip", gzip.compress(ANSWER, mtime=0)[:25], 0.0, True),
        ("text/event-stream", "", b": ping\n\n: ping\n\n", 0.0, True),
        ("text/event-stream", "", b"", 0.0, True),
        ("text/event-stream", "", STREAM[:20], 1.0, True),
        ("text/event-stream", "", b'data: {"detail": "Internal Server Error"}\n\n', 0.0, True),
        ("text/event-stream", "", b'data: {"message": "x"}\n\ndata: {"code": 5}\n\n', 0.0, True),
    ],
)
def test_what_is_no_answer_is_the_servers_own_error(
    kind: str, encoding: str, body: bytes, work: float | None, is_broken: bool
) -> None:
    headers = {"Content-Type": kind, "Content-Encoding": encoding}
    for piece in (len(body) or 1, 7):
        reader = READING.reader(headers)
        for at in range(0, len(body), piece):
            reader.feed(body[at : at + piece])
        done = reader.done()
        assert (done.work, done.is_broken, bool(done.error)) == (work, is_broken, is_broken)
        assert done.error_status == 500


@pytest.mark.parametrize("text", ["null", '" all"'])
def test_a_stream_of_tgi_ends_with_its_whole_text(text: str) -> None:
    stream = TGI_READING.reader({"Content-Type": "text/event-stream"})
    stream.feed(
        b'data:{"token": {"text": "\\"generated_text\\":\\"x"}, "generated_text": null}\n\n'
    )
    stream.feed(f'data:{{"token": {{"text": "b"}}, "generated_text": {text}}}\n\n'.encode())
    assert stream.done().is_broken == (text == "null")
    assert stream.done().work == 2


def test_a_huge_answer_is_not_kept_and_its_usage_is_still_found() -> None:
    reader = READING.reader({"Content-Type": "application/json"})
    reader.feed(b'{"choices":[{"text":"')
    for _ in range(100):
        reader.feed(b'say \\"usage\\": {\\"completion_tokens\\": 9} ' * 500)
    reader.feed(b'"}],"usage":{"prompt_tokens":3,"completion_tokens":77}}')
    assert reader.done() == Done(77.0)


def test_a_full_queue_is_told_from_a_failure() -> None:
    assert is_busy(VLLM["exchanges"]["queue_full"]["answer"].encode())
    assert not is_busy(b'{"error":{"message":"Loading model","type":"unavailable_error"}}')
    assert not is_busy(b"not json")
    assert is_clients_fault(b'{"error":{"code":500,"message":"image input is not supported"}}')
    assert not is_clients_fault(VLLM["exchanges"]["stream_engine_killed"]["answer"].encode())


def test_vllms_counters_are_read_and_slots_are_learned_when_others_wait() -> None:
    rest = read_engine_metrics(VLLM["exchanges"]["metrics_rest"]["answer"])
    assert rest.running == rest.waiting == 0
    assert rest.tokens_made
    assert rest.prefix_hit
    busy = VLLM["exchanges"]["metrics_busy"]["answer"]  # twenty requests on eight places
    slots = LearnedSlots(stated=4)
    slots.take(rest)
    assert slots.slots == 4
    slots.take(read_engine_metrics(busy))
    assert slots.slots == 8


def test_the_name_that_a_caller_sent_is_no_sign_where_vllm_logs_it() -> None:
    from workers.openai.server import BACK_END

    (_, line) = VLLM["log"]["unknown_model"]
    assert "CUDA out of memory" in line
    assert sign_of(line, BACK_END.log_markers) is None
    loaded = VLLM["log"]["start"][-1]
    assert sign_of(loaded, BACK_END.log_markers) == (Sign.LOADED, "Application startup complete.")
    torch = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert sign_of(torch, BACK_END.log_markers) == (Sign.ERROR, "CUDA out of memory")


def test_the_line_that_names_the_cause_and_the_cure_is_told() -> None:
    lines = VLLM["log"]["cache_too_small"]
    assert "estimated maximum model length" in cause_in(lines)
    assert "unrecognized arguments" in cause_in(VLLM["log"]["bad_flag"])


def test_a_cap_of_65535_that_uses_40_weighs_about_40() -> None:
    ledger = LoadLedger()
    facts = RequestFacts(
        request_idx=1, reqnum=1, cost=65535, workload=65535, route="/v1/chat", usual=256
    )
    first = ledger.enter(facts, 0.0)
    assert ledger.queued_workload == 2560  # nothing is learned yet: ten usual ones
    ledger.leave(first, Outcome.SERVED, 1.0, 40.0)
    for _ in range(5):
        ledger.leave(ledger.enter(facts, 1.0), Outcome.SERVED, 2.0, 40.0)
    ledger.enter(facts, 3.0)
    assert ledger.queued_workload == ledger.working_workload == 40
    assert ledger.counters.served_workload == 240
    assert ledger.counters.received_load - ledger.counters.finished_load == 65535


def test_work_done_for_a_client_that_left_is_known() -> None:
    ledger = LoadLedger()
    facts = RequestFacts(request_idx=1, reqnum=1, cost=100, workload=100)
    entry = ledger.enter(facts, 0.0)
    entry.reader = READING.reader({"Content-Type": "text/event-stream"})
    for _ in range(7):
        entry.reader.feed(b'data: {"choices":[{"text":"a"}]}\n\n')
    ledger.leave(entry, Outcome.CANCELLED, 1.0)
    assert [finished.used for finished in ledger.undelivered(9)] == [7.0]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (
            {"MODEL_NAME": "meta-llama/Llama-3.1-8B-Instruct"},
            "--max-model-len auto --tool-call-parser llama3_json --enable-auto-tool-choice",
        ),
        ({"MODEL_NAME": "acme/new"}, "--max-model-len auto"),
        (
            {"MODEL_NAME": "acme/new", "MODEL_FLAGS": "--max-model-len=4096 --dtype 'float16'"},
            "--max-model-len=4096 --dtype float16",
        ),
        (
            {"MODEL_NAME": "Qwen/Qwen3-8B", "MODEL_FLAGS": "--tool-call-parser mine"},
            "--max-model-len auto --enable-auto-tool-choice --tool-call-parser mine",
        ),
    ],
)
def test_vllm_gets_a_context_that_fits_and_tools_that_work(env: dict[str, str], words: str) -> None:
    assert " ".join(vllm_words(env)) == words


LLAMA: dict[str, Any] = json.loads((EVIDENCE / "llama.cpp-2026.10.json").read_text())["exchanges"]


@pytest.mark.parametrize("piece", [7, 4096])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("chat_cold", PromptRead(84, 0)),
        ("chat_warm", PromptRead(84, 83)),
        ("chat_stream", PromptRead(84, 83)),  # no usage in it: `timings` of its last event
        ("completion", PromptRead(21, 0)),
        ("native", PromptRead(21, 20)),
        ("responses", PromptRead(51, 4)),
    ],
)
def test_what_llama_cpp_had_cached_is_read_from_its_answer(
    name: str, told: PromptRead, piece: int
) -> None:
    is_stream = LLAMA[name]["answer"].startswith("data:")
    kind = "text/event-stream" if is_stream else "application/json"
    assert read({**LLAMA[name], "headers": {"content-type": kind}}, piece).prompt == told


def test_a_server_that_tells_nothing_of_its_cache_is_not_taken_to_have_found_nothing() -> None:
    assert read(VLLM["exchanges"]["chat"], 4096).prompt is None  # without its flag
    tgi = (
        "tgi_batch_current_size 1\ntgi_queue_size 0\ntgi_request_generated_tokens_sum 9\n"
        "tgi_request_input_length_sum 40\n"
    )
    engine = Engine()
    engine.take(read_engine_metrics(tgi), 0.0)
    engine.take(read_engine_metrics(tgi), 2.0)
    assert engine.prompts is None


@pytest.mark.parametrize(
    ("page", "asked", "hit"),
    [
        (VLLM["exchanges"]["metrics_rest"]["answer"], 987, 384),
        (LLAMA["metrics_after_two_chats"]["answer"], 168, 83),
        (
            'sglang:prompt_tokens_total{model_name="m"} 4096\n'
            'sglang:cached_tokens_total{model_name="m",cache_source="device"} 3000\n'
            'sglang:cached_tokens_total{model_name="m",cache_source="host"} 168\n',
            4096,
            3168,
        ),
    ],
)
def test_an_engines_own_counters_tell_what_it_found(page: str, asked: float, hit: float) -> None:
    metrics = read_engine_metrics(page)
    assert (metrics.prefix_asked, metrics.prefix_hit) == (asked, hit)


def test_an_engines_counters_count_from_the_first_look_and_through_its_restart() -> None:
    def page(asked: float, hit: float) -> EngineMetrics:
        return EngineMetrics(prefix_asked=asked, prefix_hit=hit)

    engine = Engine()
    engine.take(page(1000, 900), 0.0)  # the benchmark's, or an older PyWorker's
    assert engine.prompts == PromptRead(0, 0)
    engine.take(page(1500, 1000), 2.0)
    engine.take(EngineMetrics(), 4.0)  # a page that says nothing
    engine.take(page(200, 50), 6.0)  # restarted
    assert engine.prompts == PromptRead(700, 150)


def test_what_answers_told_is_counted() -> None:
    ledger = LoadLedger()
    ledger.prompts_read(None)
    assert ledger.counters.prompts is None
    ledger.prompts_read(PromptRead(84, 83))
    ledger.prompts_read(PromptRead(16, 0))
    assert ledger.counters.prompts == PromptRead(100, 83)


def test_a_report_tells_what_was_cached_of_lately_and_what_that_spared() -> None:
    cache = CacheWindow()

    def told() -> tuple[object, ...]:
        reporter = Reporter(
            instance_id=1, boot_id="b", url="", master_token="t", certificate_sha256="", slots=0
        )
        ledger, disk = LoadLedger(), DiskUsage(0.0, 0.0)
        acknowledged = ledger.counters.copy()
        body = status_report(reporter, Readiness(0.0), ledger, acknowledged, 1, disk, cache, 0.0)
        report = WorkerReport.from_json(json.dumps(body))
        return report.prompt_tokens, report.hit_share, report.spared_share

    cache.take(None, 500.0, 0.0)
    assert told() == (None, None, None)
    cache.take(PromptRead(0, 0), 500.0, 0.0)
    assert told() == (0, 0, 0)
    cache.take(PromptRead(4_000, 3_000), 1_000.0, 0.0)
    assert told() == (4_000, 0.75, 3_000 * PROMPT_SHARE / 1_000)
    cache.take(PromptRead(4_000, 3_000), 1_000.0, 600.0)
    assert told() == (pytest.approx(4_000 / math.e, rel=1e-3), 0.75, 0.15)  # it fades alike
    cache.take(PromptRead(104_000, 3_000), 9_000.0, 6_000.0)
    assert told() == (pytest.approx(100_000, rel=1e-3), 0.0, 0.0)
