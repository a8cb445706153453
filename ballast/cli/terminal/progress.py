"""From a yes to the first token: what each machine is doing, until the model answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import requests

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.models.questions import (
    Question,
    chat,
    embed,
    generate,
    image,
    text_of,
    vectors_of,
)
from ballast.cli.remote.server import Json
from ballast.cli.remote.session import Session
from ballast.cli.terminal.display import clean, duration, usd
from ballast.client.errors import CallError
from ballast.client.sdk import Client
from ballast.client.sse import event_data
from chalicelib.core.words import count

LOOK_EVERY_S = 2.0
STATUS_EVERY_S = 10.0
PROMPT = "Say hello in five words."
PICTURE = "A lighthouse on a cliff at dawn"
ASKED_TOKENS = 32

WORDS: Mapping[str, str] = {
    "creating": "rented; the host pulls the image",
    "loading": "container starts, worker is installed",
    "model_loading": "loads the model, then benchmarks it",
    "starting": "starts again",
    "ready": "ready",
    "stopped": "loaded, and stopped until it is needed",
    "error": "reports an error",
    "destroying": "is given back",
}


def question_for(back_end: str, model: str) -> Question | None:
    """What to ask a back end first; None for one that is not ours."""
    if back_end == "tgi":
        return generate(PROMPT, ASKED_TOKENS)
    if back_end in ("openai", "vllm", "llamacpp"):
        return chat(PROMPT, ASKED_TOKENS, model)
    if back_end == "embeddings":
        return embed(PROMPT, model)
    if back_end == "comfyui":
        return image(PICTURE, seed=1)
    return None


def follow(session: Session, endpoint: Json, question: Question | None, timeout_s: float) -> Json:
    """Print what the machines do until the model has answered, or (without a question) is ready.

    Raises:
        CliError: time is up, or the request came to nothing; the group stays.
    """
    began = time.monotonic()
    asked = _Asked(session, endpoint, question, timeout_s)
    asked.start()
    seen: dict[int, str] = {}
    hindrances = _Hindrances(session, int(endpoint["id"]))

    def tell() -> None:
        for line in (*_changes(session, int(endpoint["id"]), seen), *hindrances.news()):
            session.notes.print(f"{duration(time.monotonic() - began):>8}  {line}")

    try:
        while asked.is_alive() or (question is None and "ready" not in seen.values()):
            tell()
            if time.monotonic() - began > timeout_s:
                raise _too_late(str(endpoint["endpoint_name"]), timeout_s)
            time.sleep(LOOK_EVERY_S / 2)
        tell()  # who was ready and answered within one look
    finally:
        asked.stop()
    if asked.problem:
        raise CliError(
            f"the first request came to nothing: {asked.problem}",
            code=ExitCode.CHECK_FAILED,
            fix=f"`ballast status {endpoint['endpoint_name']}` says what the group does; "
            f"`ballast down {endpoint['endpoint_name']}` ends it",
        )
    waited_s = time.monotonic() - began
    if question is not None:
        session.notes.print(f"{duration(waited_s):>8}  first answer: {_one_line(asked.text)}")
    return {"seconds": round(waited_s, 1), "answer": asked.text}


@dataclass
class _Asked:
    """The first request, on its own thread: it makes the group start, and waits for it."""

    session: Session
    endpoint: Json
    question: Question | None
    timeout_s: float
    text: str = ""
    problem: str = ""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Send it."""
        if self.question is not None:
            self._thread = threading.Thread(target=self._ask, daemon=True)
            self._thread.start()

    def is_alive(self) -> bool:
        """Whether it is still waited for."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Let go of it."""
        self._stopped.set()

    def _ask(self) -> None:
        question = self.question
        if question is None:
            return
        key = str(self.endpoint.get("api_key") or "")
        if not key:
            self.problem = "this key may not route; `ballast create key` makes one that may"
            return
        name, path, payload = str(self.endpoint["endpoint_name"]), question.path, question.payload
        cost, timeout_s = question.cost, self.timeout_s
        try:
            with Client(key, url=self.session.server.url) as client:
                if not question.is_streamed:
                    with client.request(
                        name, path, payload, cost=cost, timeout_s=timeout_s
                    ) as whole:
                        self.text = _vectors(whole.json())
                    return
                with client.stream(name, path, payload, cost=cost, timeout_s=timeout_s) as answer:
                    for data in event_data(answer.chunks()):
                        self.text += _text(data)
                        if self._stopped.is_set():
                            return
        except (CallError, requests.RequestException, ValueError) as error:
            self.problem = str(error) or type(error).__name__


@dataclass
class _Hindrances:
    """What keeps machines from coming, each kind told once."""

    session: Session
    endpoint_id: int
    _told: set[str] = field(default_factory=set)
    _looked_at: float = field(default_factory=time.monotonic)  # at first there is nothing to tell

    def news(self) -> list[str]:
        """What was not told yet; asked every STATUS_EVERY_S."""
        if time.monotonic() - self._looked_at < STATUS_EVERY_S:
            return []
        self._looked_at = time.monotonic()
        try:
            answer = self.session.server.get("/api/v0/status", endpoint_id=self.endpoint_id)
        except CliError:  # it may not read, or the status is slow: the request may be fine
            return []
        account = answer["account"]
        found = {"silence": str(account.get("scaler", {}).get("silence") or "")}
        if account["is_frozen"] or any(one["is_frozen"] for one in answer["groups"]):
            found["frozen"] = "frozen: nothing is rented, started, stopped or destroyed"
        for one in (row for group in answer["groups"] for row in group.get("troubles", ())):
            found.setdefault(str(one["kind"]), str(one["message"]))
        new = {kind: text for kind, text in found.items() if text and kind not in self._told}
        self._told |= new.keys()
        return [f"! {clean(text)}" for text in new.values()]


def _changes(session: Session, endpoint_id: int, seen: dict[int, str]) -> Iterator[str]:
    """A line for each machine whose state is new."""
    for worker in session.server.workers(endpoint_id=endpoint_id):
        state = str(worker.get("state") or worker.get("status"))
        if seen.get(worker["id"]) == state:
            continue
        if worker["id"] not in seen:
            price = usd(worker.get("usd_per_hour"), 3)
            gpu = f"{worker.get('num_gpus', 1)}x {clean(worker.get('gpu_name'))}"
            yield f"instance {worker['id']}: {gpu} at {price} an hour"
        seen[worker["id"]] = state
        error = f": {clean(worker['error'])[:120]}" if worker.get("error") else ""
        yield f"instance {worker['id']}: {WORDS.get(state, state)}{error}"


def _too_late(name: str, timeout_s: float) -> CliError:
    return CliError(
        f"no answer within {duration(timeout_s)}; {name} stays, and may cost money",
        code=ExitCode.CHECK_FAILED,
        fix=f"`ballast status {name}` says why; `ballast down {name}` ends it",
    )


def _one_line(text: str) -> str:
    """A model's answer among our lines: breaks become spaces, what a terminal obeys is shown."""
    return clean(" ".join(text.split()))


def _vectors(answer: object) -> str:
    vectors = vectors_of(answer) if isinstance(answer, dict) else []
    if not vectors:
        raise ValueError("an answer without a vector")
    return f"{count(len(vectors), 'vector')} of {count(len(vectors[0]), 'number')}"


def _text(data: str) -> str:
    event = json.loads(data) if data != "[DONE]" else None
    if not isinstance(event, dict):
        return ""
    images = event.get("images")
    if isinstance(images, list) and images:
        n_bytes = sum(len(str(one)) * 3 // 4 for one in images)
        return f"{count(len(images), 'image')}, {n_bytes / 1000:.1f} kB"
    return text_of(event)
