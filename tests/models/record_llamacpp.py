"""`python -m tests.models.record_llamacpp`: what real llama.cpp answers, as data (a minute)."""

from __future__ import annotations

import sys
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

import requests

from tests.models.recording import Recording
from tests.models.servers import RealServer, free_port
from workers.pyworker.model.engine_metrics import read_engine_metrics

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def record_answers(it: Recording, url: str) -> None:
    """Answers, refusals and errors."""
    for name, path, body in (
        ("chat", CHAT, {"messages": HELLO, "max_tokens": 8}),
        ("chat_stream", CHAT, {"messages": HELLO, "max_tokens": 4, "stream": True}),
        ("chat_made_up_model", CHAT, {"model": "gpt-4o", "messages": HELLO, "max_tokens": 2}),
        ("chat_minus_one", CHAT, {"messages": HELLO, "max_tokens": -1, "stop": ["e"]}),
        ("chat_no_messages", CHAT, {"messages": [], "max_tokens": 2}),
        ("chat_image", CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]}),
        ("chat_too_long", CHAT, {"messages": [{"role": "user", "content": "word " * 3000}]}),
        ("completion", TEXT, {"prompt": "a b c", "max_tokens": 8}),
        ("embeddings", "/v1/embeddings", {"input": "Hi"}),
        ("rerank", "/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("no_such_path", "/v1/nothing", {}),
    ):
        it.ask(name, "POST", url + path, body)
    for name, path in (("health", "/health"), ("models", "/v1/models"), ("slots", "/slots")):
        it.ask(name, "GET", url + path)


def record_metrics(it: Recording, url: str) -> None:
    """The counters at rest, and with six requests on two places."""
    it.ask("metrics_rest", "GET", url + "/metrics")
    body = {"prompt": "Count:", "max_tokens": 400, "ignore_eos": True}
    calls = [
        threading.Thread(
            target=requests.post, args=(url + TEXT,), kwargs={"json": body, "timeout": 300}
        )
        for _ in range(6)
    ]
    for call in calls:
        call.start()
    while any(call.is_alive() for call in calls):
        page = requests.get(url + "/metrics", timeout=60).text
        if read_engine_metrics(page).is_full:
            it.keep("metrics_busy", "GET /metrics", None, 200, {"Content-Type": "text/plain"}, page)
            break
    for call in calls:
        call.join()


def main() -> None:
    """Record everything."""
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        words = ("-m", "lab.local.model.llama_server", "--port", str(port), "--metrics")
        server = RealServer([sys.executable, *words], {}, Path(name) / "llama.log", port)
        release = version("xllamacpp")
        with server.running():
            told = f"xllamacpp {release}: python {' '.join(words)}".replace(str(port), "18000")
            it = Recording("llama.cpp", release, told, (Path(name),))
            record_answers(it, server.url)
            record_metrics(it, server.url)
    print(it.write())


if __name__ == "__main__":
    main()
