"""What a back end is: its routes, cost rules, benchmark and the signs of its model server.

A back end package `workers/NAME` puts one `BackEnd` value called `BACK_END` into its `server.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

JsonObject = dict[str, object]
MakePayload = Callable[[random.Random, str], JsonObject]


class PayloadError(ValueError):
    """A payload's fields are missing or wrong: field → what is wrong."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(", ".join(f"{name}: {text}" for name, text in fields.items()))
        self.fields = fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One route that clients call, and what the model server gets for it.

    `workload` is the cost rule: load of one payload, in the unit of `perf`; it also validates and
    raises PayloadError. `convert` makes the model server's body (default: the payload as it is).
    `respond` turns a whole 200 answer into ours (default: streamed as it comes); it runs in a
    thread and may raise ModelAnswerError.
    """

    path: str
    model_path: str
    workload: Callable[[JsonObject], float]
    aliases: tuple[str, ...] = ()
    convert: Callable[[JsonObject], JsonObject] | None = None
    respond: Callable[[bytes], bytes] | None = None


class ModelAnswerError(ValueError):
    """The model server answered 200 without a usable result; the message goes to the caller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """How perf is measured: best of `n_rounds` rounds of `concurrency` payloads at once.

    `make_payload` gets a source of randomness and the model's name ("" when none was given).
    `make_short` makes the one request before a worker is ready again whose perf is known already.
    """

    route: str
    make_payload: MakePayload
    make_short: MakePayload | None = None  # None: as `make_payload`
    n_rounds: int = 3
    concurrency: int = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class LogMarkers:
    """Texts in the model server's log: it is loaded; it failed; worth showing to the owner."""

    loaded: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    info: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BackEnd:
    """A kind of model server and how the PyWorker stands in front of it."""

    name: str
    model_server_url: str
    routes: tuple[Route, ...]
    benchmark: Benchmark
    other_benchmarks: tuple[Benchmark, ...] = ()  # for models that cannot serve `benchmark`'s route
    is_serial: bool = False  # the model server takes one request at a time
    health_path: str | None = None  # answers 200 once the model is loaded
    log_markers: LogMarkers = field(default_factory=LogMarkers)
    required_env: tuple[str, ...] = ()  # checked by the supervisor before anything starts
    model_command: tuple[
        str, ...
    ] = ()  # words, $NAME from the environment; (): the image starts it
    max_queue_time_s: float = 30.0

    def with_benchmark(self, route: str, n_rounds: int, concurrency: int) -> BackEnd:
        """The same with the benchmark of this route, changed; "" and 0 leave what there is.

        Raises:
            KeyError: no benchmark uses this route.
        """
        by_route = {b.route: b for b in (*self.other_benchmarks, self.benchmark)}
        chosen = by_route[route or self.benchmark.route]
        benchmark = replace(
            chosen,
            n_rounds=n_rounds or chosen.n_rounds,
            concurrency=concurrency or chosen.concurrency,
        )
        return replace(self, benchmark=benchmark)

    def route(self, path: str) -> Route:
        """The route with this path.

        Raises:
            KeyError: no such route.
        """
        for route in self.routes:
            if path == route.path:
                return route
        raise KeyError(path)


def positive_number(payload: JsonObject, name: str, default: float) -> float:
    """A number > 0 (at most 1e9) in `payload[name]`, the default when absent or null.

    Raises:
        PayloadError: something else.
    """
    value = payload.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
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
