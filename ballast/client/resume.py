"""Continuing a stream of text: what was received so far, and what to ask the next worker. Pure.

A server that completes text goes on where the prompt ends, so the prompt and what came of it give
the rest. Chats end each message with a mark; vLLM leaves the last one open with
`continue_final_message` (vLLM's OpenAI-compatible server, chat parameters).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from ballast.client.errors import CannotResumeError
from ballast.client.in_band import error_in_event
from chalicelib.wire.model_answers import MODEL_SERVER

Resume = bool | Literal["continue_final_message"]

_COMPLETIONS = ("/v1/completions", "/completions")
_GENERATE = ("/generate_stream",)
_CHATS = ("/v1/chat/completions", "/chat/completions")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens")
_LEAST = ("min_tokens", "min_new_tokens")
_STATEFUL = (
    "tools", "functions", "response_format", "structured_outputs", "structural_tag", "json_schema",
    "regex", "ebnf", "grammar", "logprobs", "prompt_logprobs", "top_n_tokens", "echo", "suffix",
    "best_of", "use_beam_search", "stop_token_ids", "return_token_ids", "prompt_embeds", "audio",
    "details", "decoder_input_details", "return_full_text",
)  # fmt: skip
"""What a continuation would lose, or answer twice; so would all that begins with `guided_`."""
_GO_ON = frozenset({"vllm", "sglang"})
"""Servers with `continue_final_message`, by their own name (tests/evidence/models)."""
_USAGE = ("include_usage", "continuous_usage_stats")


class Continuation:
    """One stream of server-sent events, and the text in them."""

    def __init__(self, route: str, payload: Mapping[str, object], resume: Resume) -> None:
        """Refuse what could not be continued, before anything is sent.

        Raises:
            CannotResumeError: another route, or a payload whose text cannot simply go on.
        """
        if resume not in (True, "continue_final_message"):
            raise CannotResumeError(
                f'resume: {resume!r}; allowed: True, False, "continue_final_message"'
            )
        self._payload = dict(payload)
        self._kind = _kind_of(route.rstrip("/"), resume)
        _check(self._payload, self._kind)
        self._text = ""
        self._before = ""  # of it, what the workers before the present one said
        self._n_events = 0
        self._beside = ""  # what came beside text: the next worker cannot be told of it
        self._is_unread = False  # an event came that is none of the texts
        self._half = b""
        self.is_over = False
        self.error = ""  # what the model server said when it failed in the middle

    def why_not_there(self, headers: Mapping[str, str]) -> str:
        """Why the server that answers with these headers would not go on with a chat; "" if it may.

        A server ignores an option that it does not know, and begins anew: so only those go on whose
        workers say that they are of a kind which has it.
        """
        name = headers.get(MODEL_SERVER, "")
        if self._kind != "chat" or name in _GO_ON:
            return ""
        return (
            f"its model server is {name or 'not known'}; a chat goes on only where the server has "
            f"continue_final_message: {', '.join(sorted(_GO_ON))}"
        )

    def take(self, chunk: bytes) -> bytes:
        """The whole events in what came; half an event is kept until it is whole.

        An error and what follows it are not passed on: the text goes on elsewhere. vLLM ends such a
        stream with `[DONE]`, as if all were said.
        """
        *events, self._half = (self._half + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        passed = []
        for event in events:
            self.error = self.error or error_in_event(event)
            if self.error:
                break
            self._read(event)
            passed.append(self._with_all(event) + b"\n\n")
        return b"".join(passed)

    @property
    def why_not(self) -> str:
        """Why what came so far cannot be gone on with; "" if it can."""
        if self._beside:
            return f"it holds {self._beside}, which the next worker would not go on with"
        return "its events hold no text that is known" if self.is_foreign else ""

    @property
    def is_foreign(self) -> bool:
        """Whether its events have no form that is known, so that their end is not known either."""
        return self._is_unread and not (self._text or self._beside)

    def rest(self) -> bytes:
        """What is left at the end."""
        half, self._half = self._half, b""
        return half

    def began_again(self) -> bytes:
        """A comment for the reader, where another worker goes on; half an event is forgotten."""
        self._half, self.error, self._before = b"", "", self._text
        return f": resumed by another worker after {len(self._text)} characters\n\n".encode()

    def payload(self) -> dict[str, object]:
        """What the next worker is asked: the prompt and what came, and as much less."""
        payload = dict(self._payload)
        if self._kind == "chat":
            messages = [*_list(payload["messages"])]
            payload["messages"] = [*messages, {"role": "assistant", "content": self._text}]
            payload["add_generation_prompt"] = False
            payload["continue_final_message"] = True
            if not self._text:
                payload = dict(self._payload)
        else:
            name = "inputs" if self._kind == "generate" else "prompt"
            payload[name] = f"{payload[name]}{self._text}"
        return self._with_less(payload)

    def _with_less(self, payload: dict[str, object]) -> dict[str, object]:
        """A server sends a token or more an event: what is left to generate, at least one."""
        for name in _LIMITS:
            if _is_whole(payload.get(name)):
                payload[name] = max(int(str(payload[name])) - self._n_events, 1)
        for name in _LEAST:
            if _is_whole(payload.get(name)):
                payload[name] = max(int(str(payload[name])) - self._n_events, 0)
        parameters = payload.get("parameters")
        if isinstance(parameters, Mapping) and _is_whole(parameters.get("max_new_tokens")):
            left = max(int(parameters["max_new_tokens"]) - self._n_events, 1)
            payload["parameters"] = {**parameters, "max_new_tokens": left}
        return payload

    def _read(self, event: bytes) -> None:
        for line in event.split(b"\n"):
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self.is_over = True
                continue
            try:
                self._read_message(json.loads(data))
            except (ValueError, LookupError, TypeError, AttributeError):
                # Not for us: a server may send what it likes between the texts.
                self._is_unread = True

    def _with_all(self, event: bytes) -> bytes:
        """TGI's last event repeats the text: all of it, not only what the last worker added."""
        if not self._before or b"generated_text" not in event:
            return event
        lines = event.split(b"\n")
        for i, line in enumerate(lines):
            try:
                message = json.loads(line[5:]) if line.startswith(b"data:") else None
            except ValueError:
                continue
            if isinstance(message, dict) and isinstance(message.get("generated_text"), str):
                message["generated_text"] = self._before + message["generated_text"]
                lines[i] = b"data:" + json.dumps(message, ensure_ascii=False).encode()
        return b"\n".join(lines)

    def _read_message(self, message: Mapping[str, object]) -> None:
        if self._kind == "generate":
            token = message["token"]
            text = token["text"] if isinstance(token, Mapping) else ""
            is_text = isinstance(token, Mapping) and token.get("special") is not True
            self._add(text if is_text else "")
            self.is_over = self.is_over or message.get("generated_text") is not None
            return
        choice = _list(message["choices"])[0]
        if self._kind == "chat":
            delta = choice.get("delta") or {}
            others = [k for k, value in delta.items() if value and k not in ("role", "content")]
            self._beside = f"delta.{others[0]}" if others else self._beside
            self._add(delta.get("content"))
        else:
            self._add(choice.get("text"))
        self.is_over = self.is_over or choice.get("finish_reason") is not None

    def _add(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._text += text
            self._n_events += 1


def is_events(headers: Mapping[str, str]) -> bool:
    """Whether a worker answers with a stream of events; one that does not say may."""
    kind = headers.get("Content-Type", "")
    return not kind or "event-stream" in kind


def _kind_of(route: str, resume: Resume) -> str:
    if route.endswith(_CHATS):
        if resume == "continue_final_message":
            return "chat"
        raise CannotResumeError(
            f"{route}: a chat goes on only where the server has continue_final_message; "
            'if yours does (vLLM), pass resume="continue_final_message"'
        )
    if route.endswith(_COMPLETIONS):
        return "completion"
    if route.endswith(_GENERATE):
        return "generate"
    known = ", ".join((_COMPLETIONS[0], _GENERATE[0], _CHATS[0]))
    raise CannotResumeError(f"{route}: only streams of text can be resumed: {known}")


def _check(payload: Mapping[str, object], kind: str) -> None:
    parameters = payload.get("parameters")
    given = {**payload, **(parameters if isinstance(parameters, Mapping) else {})}
    for name, value in given.items():
        if (name in _STATEFUL or name.startswith("guided_")) and _is_asked(name, value):
            raise CannotResumeError(f"{name}: an answer with it cannot be resumed")
    options = given.get("stream_options")
    if isinstance(options, Mapping) and any(options.get(name) for name in _USAGE):
        raise CannotResumeError(
            "stream_options: usage would be that of the last worker alone; leave "
            f"{' and '.join(name for name in _USAGE if options.get(name))} out, or resume"
        )
    if given.get("n", 1) not in (None, 1):
        raise CannotResumeError("n: only a single answer can be resumed")
    if kind != "generate" and given.get("stream") is not True:
        raise CannotResumeError('stream: must be true; pass {"stream": True} in the payload')
    if kind == "chat":
        messages = payload.get("messages")
        if not isinstance(messages, list) or not messages:
            raise CannotResumeError("messages: missing")
        if isinstance(messages[-1], Mapping) and messages[-1].get("role") == "assistant":
            raise CannotResumeError("messages: the last one is the assistant's already")
        return
    name = "inputs" if kind == "generate" else "prompt"
    if not isinstance(payload.get(name), str):
        raise CannotResumeError(f"{name}: only one text can be resumed, not a list or tokens")


def _is_asked(name: str, value: object) -> bool:
    """Whether a member asks for anything: 0 logprobs are the chosen token's own."""
    if name.endswith("logprobs") and _is_whole(value):
        return True
    if name == "response_format" and isinstance(value, Mapping):
        return value.get("type") != "text"
    return value not in (None, False, 0, "", []) and not (name == "best_of" and value == 1)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list(value: object) -> list[dict[str, dict[str, object]]]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
