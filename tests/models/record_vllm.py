"""`python -m tests.models.record_vllm --python VLLM/bin/python`: real vLLM's answers as data.

Starts vLLM on the CPU with a model of random weights, asks what callers ask, kills its engine under
a stream, and makes starts fail. Ends what it started.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import signal
import tempfile
import time
from pathlib import Path

import psutil
import requests

from tests.models.recording import Recording
from tests.models.servers import ServerError, VllmServer, free_port, make_tiny_llama
from workers.pyworker.model.engine_metrics import read_engine_metrics

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
LOGGED = (
    "Application startup complete",
    "Available KV cache",
    "KV cache size",
    "Starting to load model",
    "Loading weights took",
    "init engine",
    "Starting vLLM server",
    "non-default args",
    "torch.compile takes",
    "saved AOT compiled function",
    "Warming up",
    "Using max model len",
)


def hello(**fields: object) -> dict[str, object]:
    """A chat with these fields changed."""
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], **fields}


def record_answers(it: Recording, url: str) -> None:
    """What it says to good and bad requests."""
    ask = it.ask
    for name, path in (
        ("health", "/health"), ("version", "/version"), ("models", "/v1/models"), ("load", "/load"),
        ("model", "/v1/models/tiny"), ("server_info", "/server_info"),
    ):  # fmt: skip
        ask(name, "GET", url + path)
    chats: dict[str, dict[str, object]] = {
        "chat": hello(max_tokens=8),
        "chat_stream": hello(max_tokens=4, stream=True),
        "chat_stream_usage": hello(
            max_tokens=4, stream=True, stream_options={"include_usage": True}
        ),
        "chat_n": hello(max_tokens=4, n=3),
        "chat_null_max_tokens": hello(max_tokens=None, stop=["e"]),
        "chat_unknown_model": hello(model="gpt-4o"),
        "chat_marker_as_model": hello(model="CUDA out of memory"),
        "chat_too_long": hello(messages=[{"role": "user", "content": "word " * 3000}]),
        "chat_image": hello(
            messages=[{"role": "user", "content": [IMAGE]}]
        ),
        "chat_tools": hello(
            max_tokens=4, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]
        ),
        "chat_n_too_large": hello(n=1_000_000),
        "chat_zero_tokens": hello(max_tokens=0),
        "chat_minus_one": hello(max_tokens=-1),
        "chat_no_messages": hello(messages=[]),
    }  # fmt: skip
    for name, body in chats.items():
        ask(name, "POST", url + CHAT, body)
    ask("chat_without_model", "POST", url + CHAT,
        {"messages": hello()["messages"], "max_tokens": 2})  # fmt: skip
    texts: dict[str, dict[str, object]] = {
        "completion_list": {"prompt": ["a", "b", "c"], "max_tokens": 8, "ignore_eos": True},
        "completion_echo_zero": {"prompt": "a b c", "max_tokens": 0, "echo": True},
        "completion_ids": {"prompt": [5, 6, 7], "max_tokens": 4},
        "completion_without_max_tokens": {"prompt": "a"},
        "completion_stream": {"prompt": "a", "max_tokens": 3, "stream": True},
    }
    for name, body in texts.items():
        ask(name, "POST", url + TEXT, {"model": "tiny", **body})
    ask("responses", "POST", url + "/v1/responses",
        {"model": "tiny", "input": "Hi", "max_output_tokens": 8})  # fmt: skip
    ask("embeddings", "POST", url + "/v1/embeddings", {"model": "tiny", "input": "Hi"})
    ask("rerank", "POST", url + "/v1/rerank", {"model": "tiny", "query": "a", "documents": ["b"]})
    ask("no_such_path", "POST", url + "/v1/nothing", {})
    ask(
        "not_json",
        "POST",
        url + CHAT,
        None,
        data=b"{",
        headers={"Content-Type": "application/json"},
    )


def record_metrics(it: Recording, url: str) -> None:
    """`/metrics` with twenty requests on eight places, and at rest after a repeated prompt."""
    record_busy(it, url)
    body = {"model": "tiny", "ignore_eos": True, "prompt": "word " * 200, "max_tokens": 2}
    for _ in range(2):
        requests.post(url + TEXT, json=body, timeout=60)
    time.sleep(1.0)
    keep_metrics(it, "metrics_rest", url)


def record_busy(it: Recording, url: str) -> None:
    """The counters while some run and others wait."""
    body = {"model": "tiny", "prompt": "x", "max_tokens": 400, "ignore_eos": True}
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(requests.post, url + TEXT, json=body, timeout=120) for _ in range(20)]
        while not is_busy(url):  # the page is made from the engine's last step
            if all(call.done() for call in calls):
                raise ServerError("the counters never showed that it was busy")
        keep_metrics(it, "metrics_busy", url)
        concurrent.futures.wait(calls)


def is_busy(url: str) -> bool:
    """Whether some requests run and others wait, by vLLM's own word."""
    return read_engine_metrics(requests.get(url + "/metrics", timeout=30).text).is_full


def keep_metrics(it: Recording, name: str, url: str) -> None:
    """The lines of vLLM's own, without histograms' buckets."""
    text = requests.get(url + "/metrics", timeout=30).text
    lines = [
        line for line in text.splitlines()
        if line.startswith("vllm:") and "_bucket" not in line and "_created" not in line
    ]  # fmt: skip
    it.keep(name, "GET /metrics", None, 200, {"Content-Type": "text/plain"}, "\n".join(lines))


def record_death(it: Recording, server: VllmServer) -> None:
    """The engine is killed under a stream."""
    body = {"model": "tiny", "prompt": "x", "max_tokens": 480, "ignore_eos": True, "stream": True}
    with requests.post(server.url + TEXT, json=body, stream=True, timeout=60) as answer:
        chunks = answer.iter_content(chunk_size=None)
        seen = next(chunks)
        for child in psutil.Process(server.process.pid).children(recursive=True):
            if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
        before = len(server.log_lines())
        seen = b"".join(chunks)
    tail = seen.decode()[-1500:]
    it.keep("stream_engine_killed", f"POST {TEXT}", body, answer.status_code, {}, tail)
    server.process.wait(60)
    it.keep_log(
        "engine_killed", [line for line in server.log_lines()[before:] if "ERROR" in line][:40]
    )


def record_failed_start(it: Recording, python: Path, model: Path, name: str, *flags: str) -> None:
    """A start that fails: the log's words."""
    with tempfile.TemporaryDirectory() as folder:
        server = VllmServer(python, model, Path(folder), free_port(), flags)
        server.start()
        code = server.process.wait(180)
        lines = [line for line in server.log_lines() if "rror" in line and "ulimit" not in line]
        it.keep_log(name, [f"(exit code {code})", *lines[-14:]])


def main() -> None:
    """Record everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--busy-only", action="store_true", help="the rest stays as it is")
    arguments = parser.parse_args()
    python: Path = arguments.python.absolute()
    if arguments.busy_only:
        print(record_busy_anew(python))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_tiny_llama(python, folder / "tiny")
        server = VllmServer(python, model, folder / "cache", free_port())
        with server.running():
            version = requests.get(server.url + "/version", timeout=10).json()["version"]
            it = Recording(
                "vllm",
                version.partition("+")[0],
                server.command_text(),
                (folder, python.parents[1]),
            )
            it.keep_log("start", [x for x in server.log_lines() if any(t in x for t in LOGGED)])
            record_answers(it, server.url)
            it.keep_log(
                "unknown_model", [x for x in server.log_lines() if "Error with model" in x][:3]
            )
            record_metrics(it, server.url)
            record_death(it, server)
        record_queue_full(it, python, model, folder / "cache")
        record_failed_start(it, python, model, "bad_flag", "--swap-space", "4")
        record_failed_start(it, python, model, "context_too_long", "--max-model-len", "100000")
        huge = '{"max_position_embeddings": 1048576}'
        record_failed_start(
            it, python, model, "cache_too_small",
            "--hf-overrides", huge, "--max-model-len", "1048576",
        )  # fmt: skip
        print(it.write())


def record_busy_anew(python: Path) -> Path:
    """The busy counters alone, of a server that did not compile, into the record that there is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_tiny_llama(python, folder / "tiny")
        flags = ("--enforce-eager",)
        server = VllmServer(python, model, folder / "cache", free_port(), flags)
        with server.running():
            version = requests.get(server.url + "/version", timeout=10).json()["version"]
            it = Recording.of("vllm", version.partition("+")[0], (folder, python.parents[1]))
            record_busy(it, server.url)
    return it.write()


def record_queue_full(it: Recording, python: Path, model: Path, cache: Path) -> None:
    """What a full queue answers."""
    flags = ("--max-num-seqs", "2", "--max-num-queued-reqs", "2")
    server = VllmServer(python, model, cache, free_port(), flags)
    body = {"model": "tiny", "prompt": "x", "max_tokens": 300, "ignore_eos": True}
    with server.running(), concurrent.futures.ThreadPoolExecutor(20) as pool:
        calls = [
            pool.submit(requests.post, server.url + TEXT, json=body, timeout=60) for _ in range(20)
        ]
        answers = [call.result() for call in calls]
    refused = next(a for a in answers if a.status_code != 200)
    it.keep("queue_full", f"POST {TEXT}", body, refused.status_code, dict(refused.headers), refused)


if __name__ == "__main__":
    main()
