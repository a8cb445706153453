"""What to ask a back end, and how to read what it answers. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ballast.cli.remote.server import Json
from ballast.client.errors import WorkerRefusedError
from chalicelib.wire.model_answers import MODEL_ANSWER, NO_SUCH_PATH

IMAGE_SIDE = 1024
IMAGE_STEPS = 28
LONGEST_ENDING = 5  # of a file that a worker names


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One request, in the shape of one kind of back end."""

    path: str
    payload: Mapping[str, object]
    cost: float

    @property
    def is_streamed(self) -> bool:
        """Whether the answer comes in events."""
        return bool(self.payload.get("stream")) or self.path.endswith("_stream")

    @property
    def whole_path(self) -> str:
        """Where the same is answered in one piece."""
        return self.path.removesuffix("_stream")

    @property
    def whole_payload(self) -> Json:
        """What to send there."""
        return {name: value for name, value in self.payload.items() if name != "stream"}


def chat(prompt: str, n_tokens: int, model: str = "", system: str = "") -> Question:
    """OpenAI's: vLLM, SGLang, llama.cpp, TGI. Without a name the server takes what it serves."""
    messages = [{"role": "system", "content": system}] if system else []
    return Question(
        path="/v1/chat/completions",
        payload={
            **({"model": model} if model else {}),
            "messages": [*messages, {"role": "user", "content": prompt}],
            "max_tokens": n_tokens,
            "stream": True,
        },
        cost=float(n_tokens),
    )


def embed(text: str, model: str) -> Question:
    """OpenAI's, for a model that answers with vectors: in one piece."""
    return Question(path="/v1/embeddings", payload={"model": model, "input": text}, cost=10.0)


def generate(prompt: str, n_tokens: int) -> Question:
    """TGI's own."""
    return Question(
        path="/generate_stream",
        payload={"inputs": prompt, "parameters": {"max_new_tokens": n_tokens}},
        cost=float(n_tokens),
    )


def hello_world(prompt: str, n_tokens: int) -> Question:
    """The smallest back end's, which docs/internals/extension-guide.md begins with."""
    return Question(
        path="/generate",
        payload={"prompt": prompt, "max_response_tokens": n_tokens},
        cost=float(n_tokens),
    )


def image(prompt: str, seed: int) -> Question:
    """A picture of the template's own model, by ComfyUI."""
    size = {"width": IMAGE_SIDE, "height": IMAGE_SIDE, "steps": IMAGE_STEPS}
    return Question(
        path="/prompt",
        payload={"prompt": prompt, "seed": seed, "stream": True, **size},
        cost=100.0,
    )


def questions(prompt: str, n_tokens: int, *, model: str, system: str, seed: int) -> list[Question]:
    """One for each kind of back end, the likeliest first: whose path a worker has, is asked."""
    return [
        chat(prompt, n_tokens, model, system),
        generate(prompt, n_tokens),
        image(prompt, seed),
        hello_world(prompt, n_tokens),
    ]


def has_no_such_path(error: WorkerRefusedError) -> bool:
    """Whether a refusal says that the back end is another: no such path, or no such fields.

    aiohttp's text says the same of a path, by workers of 0.1, the vendor's or a model server; a
    worker's 422 names the field. A model server's other words, as of an unknown model, do not.
    """
    is_workers = MODEL_ANSWER not in error.headers
    if error.http_status == 404:
        return (is_workers and NO_SUCH_PATH in error.headers) or error.body.startswith(b"404:")
    return is_workers and error.http_status == 422 and error.body.startswith(b'{"payload"')


def text_of(answer: Json) -> str:
    """The text in a whole answer, or in one event of a stream: OpenAI's, TGI's; "" in others.

    A model that thinks first shows that, too; `</s>` and such are left out.
    """
    token = answer.get("token")
    if isinstance(token, dict):
        return "" if token.get("special") else str(token.get("text") or "")
    if answer.get("type") == "response.output_text.delta":
        return str(answer.get("delta") or "")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return str(answer.get("generated_text") or "")
    choice = choices[0]
    part = choice.get("delta") or choice.get("message") or {}
    thought = part.get("reasoning_content") or part.get("reasoning") or ""
    return f"{thought}{part.get('content') or choice.get('text') or ''}"


def vectors_of(answer: Json) -> Sequence[Sequence[float]]:
    """The vectors in an answer to `embed`; none where it is another."""
    rows = answer.get("data")
    found = [one.get("embedding") for one in rows or () if isinstance(one, dict)]
    return [one for one in found if isinstance(one, list) and one]


def files_of(answer: Json) -> Iterator[tuple[str, bytes]]:
    """(ending, bytes) of each image, video and audio in an answer; they come as data URLs."""
    for kind in ("images", "videos", "audio"):
        found = answer.get(kind)
        for one in found if isinstance(found, list) else []:
            head, _, data = str(one).partition(";base64,")
            try:
                content = base64.b64decode(data, validate=True)
            except binascii.Error:
                continue
            if content and head.startswith("data:"):
                told = head.rpartition("/")[2].removeprefix("x-").partition("+")[0]
                is_plain = told.isascii() and told.isalnum() and len(told) <= LONGEST_ENDING
                yield told if is_plain else "bin", content
