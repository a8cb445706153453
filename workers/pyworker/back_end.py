"""What a back end is: its routes, cost rules, benchmark and the signs of its model server.

A back end package `workers/NAME` puts one `BackEnd` value called `BACK_END` into its `server.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from workers.pyworker.model.answers import MakeReader
from workers.pyworker.model.engine_metrics import ReadMetrics
from workers.pyworker.model.jobs import Job
from workers.pyworker.model.load_phases import PhaseMark

JsonObject = dict[str, object]
MakePayload = Callable[[random.Random, str], JsonObject]

JudgeBody = Callable[[bytes], bool]

MAX_NUMBER = 1e9


def _never(_body: bytes) -> bool:
    return False


class PayloadError(ValueError):
    """A payload's fields are missing or wrong: field → what is wrong."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(", ".join(f"{name}: {text}" for name, text in fields.items()))
        self.fields = fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One route that clients call, and what the model server gets for it.

    `workload` is the cost rule: load of one payload, in the unit of `perf`; it may raise
    PayloadError for what no model server could take. `convert` makes the model server's body
    (default: the payload as it is); with `is_form` the body is sent as a multipart form.
    `respond` turns a whole 200 answer into ours (default: streamed as it comes); it runs in a
    thread and may raise ModelAnswerError. `read` follows answers: what was really done is booked,
    and an error under a status of 200 is an error; without it an answer is worth what was asked.
    `job` replaces the one POST by a conversation with the model server (ComfyUI).
    `is_busy` and `is_clients_fault` judge the body of an answer of 5xx: the model server is full,
    and another worker may serve it; or no worker could.
    """

    path: str
    model_path: str
    workload: Callable[[JsonObject], float]
    aliases: tuple[str, ...] = ()
    convert: Callable[[JsonObject], JsonObject] | None = None
    is_form: bool = False
    respond: Callable[[bytes], bytes] | None = None
    read: MakeReader | None = None
    job: Job | None = None
    is_busy: JudgeBody = _never
    is_clients_fault: JudgeBody = _never


class ModelAnswerError(ValueError):
    """The model server answered 200 without a usable result; the message goes to the caller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """How perf is measured: `n_rounds` rounds at each concurrency, doubled while it helps.

    `make_payload` gets a source of randomness and the model's name ("" when none was given).
    `make_short` makes the one request before a worker is ready again whose perf is known already,
    and the request that settles whether a model server still works. `concurrency` is where the
    doubling starts, `max_concurrency` where it ends; equal, there is one level.
    """

    route: str
    make_payload: MakePayload
    make_short: MakePayload | None = None  # None: as `make_payload`
    n_rounds: int = 2
    concurrency: int = 4
    max_concurrency: int = 256  # vLLM's default number of sequences at once


@dataclass(frozen=True, kw_only=True, slots=True)
class LogMarkers:
    """How lines of the model server's log begin that tell something, after the logger's prefix.

    They count only while the model server loads: later a log holds what clients wrote. `loaded` and
    `error` are confirmed by asking the model server; `info` is shown to the owner.
    """

    loaded: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    info: tuple[str, ...] = ()
    phases: tuple[PhaseMark, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BackEnd:
    """A kind of model server and how the PyWorker stands in front of it.

    `close_routes` are paths of the model server that a session may have called at its end, besides
    `routes`: none unless the back end declares them.
    """

    name: str
    model_server_url: str
    routes: tuple[Route, ...]
    benchmark: Benchmark
    other_benchmarks: tuple[Benchmark, ...] = ()  # for models that cannot serve `benchmark`'s route
    is_serial: bool = False  # the model server takes one request at a time
    health_path: str | None = None  # answers 200 once the model is loaded
    models_path: str | None = None  # lists what is served, in OpenAI's form
    metrics_path: str | None = None
    read_metrics: ReadMetrics | None = None
    queue_path: str | None = None  # ComfyUI: JSON that shows whether something is being worked on
    close_routes: frozenset[str] = frozenset()
    log_markers: LogMarkers = field(default_factory=LogMarkers)
    required_env: tuple[str, ...] = ()  # checked by the supervisor before anything starts
    model_command: tuple[
        str, ...
    ] = ()  # words, $NAME from the environment; (): the image starts it
    more_words: Callable[[Mapping[str, str]], tuple[str, ...]] | None = None  # by the environment
    max_queue_time_s: float = 30.0
    default_workload: float = 256.0  # of a request that says nothing
    module: str = ""  # where BACK_END is; empty: workers.NAME.server

    def with_benchmark(self, route: str, n_rounds: int, concurrency: int) -> BackEnd:
        """The same with the benchmark of this route, changed; "" and 0 leave what there is.

        A given concurrency is the only level measured.

        Raises:
            KeyError: no benchmark uses this route.
        """
        by_route = {b.route: b for b in (*self.other_benchmarks, self.benchmark)}
        chosen = by_route[route or self.benchmark.route]
        benchmark = replace(
            chosen,
            n_rounds=n_rounds or chosen.n_rounds,
            concurrency=concurrency or chosen.concurrency,
            max_concurrency=concurrency or chosen.max_concurrency,
        )
        return replace(self, benchmark=benchmark)

    def route(self, path: str) -> Route:
        """The route with this path or alias.

        Raises:
            KeyError: no such route.
        """
        for route in self.routes:
            if path == route.path or path in route.aliases:
                return route
        raise KeyError(path)

    def may_close_with(self, path: str) -> bool:
        """Whether a session may name this path as what is called at its end."""
        return path in self.close_routes or any(
            path == route.path and route.job is None and not route.is_form for route in self.routes
        )


def positive_number(payload: JsonObject, name: str, default: float) -> float:
    """A number > 0 (at most 1e9) in `payload[name]`, the default when absent or null.

    Raises:
        PayloadError: something else.
    """
    value = payload.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_NUMBER:
        raise PayloadError({name: f"must be a number above 0, at most 1e9, not {value!r:.40}"})
    return float(value)


def required_text(payload: JsonObject, name: str) -> str:
    """The non-missing string in `payload[name]`.

    Raises:
        PayloadError: missing or not a string.
    """
    value = payload.get(name)
    if value is None:
        raise PayloadError({name: "missing parameter"})
    if not isinstance(value, str):
        raise PayloadError({name: f"must be a string, not {type(value).__name__}"})
    return value
