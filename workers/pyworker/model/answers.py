"""Reading an answer while it passes: how much work was done, and whether it is an error in a 200.

Nothing is held up or changed, and little is kept: the bytes go on to the client as they came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from chalicelib.wire.model_answers import MAX_WORDS, error_of, status_of_error

JsonObject = dict[str, object]

WHOLE_UP_TO = 1 << 18
"""An answer up to this size is parsed when it is complete; of a longer one the end is searched."""
KEPT_TAIL = 1 << 13
MAX_LINE = 1 << 16
"""Of a longer event (audio, images) nothing is read but that it came."""
_USAGE = re.compile(rb'(?<!\\)"usage"\s*:\s*(\{)')


@dataclass(frozen=True, slots=True)
class PromptRead:
    """Tokens of a prompt, or of many, and how many of them were found in a cache."""

    tokens: float
    cached: float


@dataclass(frozen=True, slots=True)
class Done:
    """What an answer tells about itself.

    `work`: load really done, in the unit of perf; None when it does not tell. `error`: the model
    server's words when the answer is an error, though its status said otherwise; `error_status`:
    what its status should have been. `prompt`: what of the prompt was cached; None when it does not
    tell.
    """

    work: float | None = None
    error: str = ""
    prompt: PromptRead | None = None
    error_status: int = 0


class AnswerReader(Protocol):
    """Follows one answer."""

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        ...

    def done(self) -> Done:
        """What is known after the last byte, or when it broke off."""
        ...


def _tells_no_prompt(_answer: JsonObject) -> PromptRead | None:
    return None


MakeReader = Callable[[Mapping[str, str]], AnswerReader]
"""A reader for an answer with these headers (as `aiohttp` gives them: any case)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a kind of API tells work.

    `work_of` gets a parsed answer or event, as `prompt_of` does, which tells of caches; `is_token`
    says whether a streamed line brings a token, for streams that never tell their usage.
    """

    work_of: Callable[[JsonObject], float | None]
    is_token: Callable[[bytes], bool]
    work_header: str = ""
    prompt_of: Callable[[JsonObject], PromptRead | None] = _tells_no_prompt

    def reader(self, headers: Mapping[str, str]) -> AnswerReader:
        """The reader for an answer with these headers."""
        if "event-stream" in headers.get("Content-Type", ""):
            return EventReader(self)
        return WholeReader(self, headers.get(self.work_header, "") if self.work_header else "")


class EventReader:
    """Reads server-sent events, line by line."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._rest = b""
        self._n_tokens = 0
        self._work: float | None = None
        self._prompt: PromptRead | None = None
        self._error, self._error_status = "", 0
        self._is_error = False  # the event that is being read is named "error"

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest if len(rest) <= MAX_LINE else b"data:" + rest[-KEPT_TAIL:]
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            self._is_error = line.startswith(b"event:") and line[6:].strip() == b"error"
            return
        if self._is_error and not self._error:
            self._error = words_in(line[5:]) or "error"
            self._error_status = status_of_error(_object(line[5:]))
        if self._reading.is_token(line):
            self._n_tokens += 1
        if len(line) > MAX_LINE or not _is_telling(line):
            return
        event = _object(line[5:])
        if event is None:
            return
        if not self._error and (error := error_of(event)):
            self._error, self._error_status = error, status_of_error(event)
        work = self._reading.work_of(event)
        self._work = self._work if work is None else work
        self._prompt = self._reading.prompt_of(event) or self._prompt

    def done(self) -> Done:
        """What is known."""
        self._take(self._rest)
        self._rest = b""
        work = float(self._n_tokens) if self._work is None else self._work
        return Done(work, self._error, self._prompt, self._error_status)


class WholeReader:
    """Reads one JSON answer."""

    def __init__(self, reading: Reading, told: str) -> None:
        self._reading = reading
        self._told = told
        self._kept = bytearray()
        self._is_whole = True

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        self._kept += chunk
        if len(self._kept) > WHOLE_UP_TO:
            self._is_whole = False
            del self._kept[:-KEPT_TAIL]

    def done(self) -> Done:
        """What is known."""
        work = float(self._told) if self._told.isdigit() else None
        answer = self._answer()
        if answer is None:
            return Done(work)
        told = self._reading.work_of(answer)
        error = error_of(answer)
        return Done(
            work if told is None else told,
            error,
            self._reading.prompt_of(answer),
            status_of_error(answer) if error else 0,
        )

    def _answer(self) -> JsonObject | None:
        data = bytes(self._kept)
        if self._is_whole:
            return _object(data)
        places = list(_USAGE.finditer(data))
        if not places:
            return None
        found = places[-1]  # OpenAI's servers tell usage after the choices
        try:
            usage, _ = json.JSONDecoder().raw_decode(data[found.start(1) :].decode())
        except ValueError:
            return None
        return {"usage": usage}


def _is_telling(line: bytes) -> bool:
    return (
        b'"error"' in line
        or b'"details"' in line
        or b'"timings"' in line
        or (b'"usage"' in line and b'"usage":null' not in line and b'"usage": null' not in line)
    )


def _object(data: bytes) -> JsonObject | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def words_of(answer: JsonObject) -> str:
    """The message of an error answer: in `error`, `error.message`, `detail` or `message`."""
    error = answer.get("error") or answer.get("detail") or answer.get("message")
    if isinstance(error, dict):
        error = error.get("message") or error.get("type") or error
    if not error:
        return ""
    return error if isinstance(error, str) else json.dumps(error)


def words_in(body: bytes) -> str:
    """The words of an error answer, for people: its message, else its first characters."""
    answer = _object(body)
    words = words_of(answer) if answer is not None else ""
    return " ".join((words or body[:MAX_WORDS].decode(errors="replace")).split())[:MAX_WORDS]
