"""Reading an answer while it passes: how much work was done, and whether it is an error in a 200.

Nothing is held up or changed, and little is kept: the bytes go on to the client as they came.
"""

from __future__ import annotations

import json
import math
import re
import zlib
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
MAX_COUNT = 1e9
"""Of the tokens of one answer: a made-up number stays a number."""
MAX_PLAIN = 1 << 26
"""Of an answer to a question of our own, unpacked."""
INFLATED_AT_ONCE = 1 << 16
KEPT_HEAD = 1 << 9
_JSON_KIND = "application/json"
_JSON_BEGINS, _EVENTS_BEGIN = b"{[", b"dei:"  # of `data`, `event`, `id` and comments
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
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
    what its status should have been, 500 of what is no answer. `prompt`: what of the prompt was
    cached; None when it does not tell. `is_broken`: it is no answer, or not a whole one, though
    status and connection say so.
    """

    work: float | None = None
    error: str = ""
    prompt: PromptRead | None = None
    error_status: int = 500
    is_broken: bool = False


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


def _has_no_end(_line: bytes) -> bool | None:
    return None


MakeReader = Callable[[Mapping[str, str]], AnswerReader]
"""A reader for an answer with these headers (as `aiohttp` gives them: any case)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a kind of API tells work.

    `work_of` gets a parsed answer or event, as `prompt_of` does, which tells of caches; `is_token`
    says whether a streamed line brings a token, for streams that never tell their usage. `is_end`:
    whether it ends its stream; None of a line that is no part of an answer.
    """

    work_of: Callable[[JsonObject], float | None]
    is_token: Callable[[bytes], bool]
    work_header: str = ""
    prompt_of: Callable[[JsonObject], PromptRead | None] = _tells_no_prompt
    is_end: Callable[[bytes], bool | None] = _has_no_end

    @property
    def tells_its_end(self) -> bool:
        """Whether it is known of a stream what an answer in it looks like."""
        return self.is_end is not _has_no_end

    def reader(self, headers: Mapping[str, str]) -> AnswerReader:
        """The reader for an answer with these headers."""
        kind = headers.get("Content-Type", "").lower()
        told = headers.get(self.work_header, "") if self.work_header else ""
        whole = WholeReader(self, told, kind)
        reader: AnswerReader = whole
        if "event-stream" in kind:
            reader = KindReader(EventReader(self), whole, _JSON_BEGINS)
        elif not kind or _JSON_KIND in kind:
            reader = KindReader(whole, EventReader(self), _EVENTS_BEGIN)
        return InflatingReader(reader) if _encoding(headers) in _PACKED else reader


def is_readable(headers: Mapping[str, str]) -> bool:
    """Whether an answer's bytes can be followed: plain, or packed as `gzip` or `deflate`."""
    return _encoding(headers) in ("", "identity", *_PACKED)


def plain(headers: Mapping[str, str], data: bytes) -> bytes:
    """A whole answer's bytes, unpacked; as they are where they cannot be."""
    if _encoding(headers) not in _PACKED:
        return data
    try:
        return _inflater().decompress(data, MAX_PLAIN)
    except zlib.error:
        return data


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Encoding", "").strip().lower()


def _inflater() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip's header or zlib's, whichever it is


class InflatingReader:
    """Follows an answer that the model server packed although it was asked not to."""

    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader
        self._inflater = _inflater()
        self._is_broken = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes, as they came."""
        while chunk and not self._is_broken:
            try:
                self._reader.feed(self._inflater.decompress(chunk, INFLATED_AT_ONCE))
            except zlib.error:
                self._is_broken = True
            chunk = self._inflater.unconsumed_tail

    def done(self) -> Done:
        """What is known."""
        if self._is_broken:
            return Done(0.0, "an answer that cannot be unpacked", is_broken=True)
        return self._reader.done()


class KindReader:
    """Follows an answer as what it is, where its first byte tells that its type is wrong."""

    def __init__(self, stated: AnswerReader, other: AnswerReader, others: bytes) -> None:
        self._reader, self._other, self._others = stated, other, others
        self._is_sure = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        if not self._is_sure and (begin := chunk.lstrip()):
            self._is_sure = True
            if begin[0] in self._others:
                self._reader = self._other
        self._reader.feed(chunk)

    def done(self) -> Done:
        """What is known."""
        return self._reader.done()


class EventReader:
    """Reads server-sent events, line by line."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._rest = b""
        self._n_tokens = 0
        self._work: float | None = None
        self._prompt: PromptRead | None = None
        self._error, self._error_status = "", 500
        self._is_error = False  # the event that is being read is named "error"
        self._is_empty = True
        self._has_begun = self._has_ended = self._has_objects = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest if len(rest) <= MAX_LINE else rest[:KEPT_HEAD] + rest[-KEPT_TAIL:]
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            self._is_error = line.startswith(b"event:") and line[6:].strip() == b"error"
            return
        self._is_empty = False
        if self._is_error and not self._error:
            self._error = words_in(line[5:]) or "error"
            self._error_status = status_of_error(_object(line[5:]))
        if self._reading.is_token(line):
            self._n_tokens += 1
        is_end = self._reading.is_end(line)
        self._has_begun |= is_end is not None
        self._has_objects |= not self._has_begun and line[5:].lstrip().startswith(b"{")
        self._has_ended |= is_end is True
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
        if self._is_empty:
            return Done(0.0, "a stream without an event", is_broken=True)
        work = float(self._n_tokens) if self._work is None else self._work
        is_other = self._has_objects and not (self._has_begun or self._error or self._work)
        if is_other and self._reading.tells_its_end:
            return Done(0.0, "a stream without an answer", is_broken=True)
        if self._has_begun and not self._has_ended and not self._error:
            return Done(work, "a stream without its end", self._prompt, is_broken=True)
        return Done(work, self._error, self._prompt, self._error_status)


class WholeReader:
    """Reads one answer of a content type, of which JSON is understood."""

    def __init__(self, reading: Reading, told: str, kind: str = "") -> None:
        self._reading = reading
        self._told = told
        self._kind = kind.partition(";")[0].strip()
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
        work = count_of(int(self._told)) if re.fullmatch(r"[0-9]{1,18}", self._told) else None
        if problem := self._problem():
            return Done(0.0, problem, is_broken=True)
        answer = self._answer()
        if answer is None:
            return Done(work)
        told = self._reading.work_of(answer)
        error = error_of(answer)
        return Done(
            work if told is None else told,
            error,
            self._reading.prompt_of(answer),
            status_of_error(answer),
        )

    def _problem(self) -> str:
        """Why this is no answer of any model, whatever its status says."""
        if not self._kept:
            return "an empty answer"
        if self._kind == "text/html":
            return "a page of HTML"
        if self._kind == _JSON_KIND and self._is_whole and not _is_json(self._kept):
            return "an answer that is no JSON object or list"
        return ""

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
        or b'"abort"' in line
        or b'"details"' in line
        or b'"timings"' in line
        or (b'"usage"' in line and b'"usage":null' not in line and b'"usage": null' not in line)
    )


def count_of(value: object) -> float | None:
    """A number of tokens that a model server tells; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return None if value == math.inf else float(min(value, MAX_COUNT))


def _is_json(data: bytes | bytearray) -> bool:
    try:
        return isinstance(json.loads(data), dict | list)
    except ValueError:
        return False
    except RecursionError:
        return True


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
