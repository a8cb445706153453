"""The parameters of groups and autogroups as options, and which of them were given.

Only what is given is sent: what is left out stays automatic. Dashes and underscores are the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from ballast.cli.errors import CliError, ExitCode

F = TypeVar("F", bound=Callable[..., object])

STAGE = click.option(
    "--stage",
    envvar="BALLAST_STAGE",
    help="Deployment, as in `make deploy STAGE=…`; or BALLAST_STAGE.",
)
"""Without a default: nobody's deployment is another's."""


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def is_plain_number(text: str) -> bool:
    """Whether a text is a finite decimal number as everybody writes it.

    Python reads more: `1_0` (ten, where 1.0 was meant), `nan`, `inf`, digits of other scripts.
    """
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


class Finite(click.FloatRange):
    """A number within bounds; click's own range lets `nan` through, which no comparison refuses."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number."""
        if isinstance(value, str) and not is_plain_number(value):
            self.fail(f"{value!r} is no number that can be meant; give one such as 2.5", param, ctx)
        return float(super().convert(value, param, ctx))


class Whole(click.IntRange):
    """A whole number within bounds, in plain digits."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,30}", value) is None:
            self.fail(f"{value!r} is no whole number; give one such as 3", param, ctx)
        return int(super().convert(value, param, ctx))


NUMBER, WHOLE = Finite(), Whole()


SECONDS = Finite(min=0)
"""How long to wait."""

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def needed_stage(stage: str | None) -> str:
    """The deployment that a command acts on.

    Raises:
        CliError: none was named.
    """
    if not stage:
        raise CliError(
            "which deployment? None is named",
            code=ExitCode.USAGE,
            fix="--stage NAME, as in `make deploy STAGE=NAME`; or set BALLAST_STAGE",
        )
    return stage


class Word(click.Choice[str]):
    """One of some words, shown as the API spells them; dashes and underscores are the same."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """With underscores."""
        return str(choice).replace("-", "_")


class DurationType(click.ParamType[float]):
    """Seconds, or a number with s, m, h or d."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration; write 90, 90s, 30m, 10h or 2d", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]


DURATION = DurationType()


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter of the API and its option."""

    name: str
    type: click.ParamType[Any]
    help: str
    choices: Sequence[str] = field(default_factory=tuple)


ENDPOINT_FIELDS = (
    Field("min_load", NUMBER, "Load per second to be ready for at any time (tokens/s for LLMs)."),
    Field("target_util", NUMBER, "Share of ready capacity in use; lower = more slack, 0 to 1."),
    Field("cold_mult", NUMBER, "Ready + cold capacity as a multiple of the ready target."),
    Field("min_cold_load", NUMBER, "Ready + cold capacity is at least this."),
    Field("cold_workers", WHOLE, "Loaded workers kept stopped when idle."),
    Field("max_workers", WHOLE, "Most workers in any state."),
    Field("max_queue_time", NUMBER, "Longest queue in seconds that a worker may have."),
    Field("target_queue_time", NUMBER, "Requests should start within this many seconds."),
    Field(
        "inactivity_timeout",
        NUMBER,
        "Seconds after the last request until zero; 0: the hold alone; negative: never.",
    ),
    Field("slo_target", NUMBER, "Share of requests to start within target_queue_time."),
    Field("queue_order", click.STRING, "Who goes first.", ("on_time_first", "fifo")),
    Field(
        "interruptible",
        click.STRING,
        "Rent at bids, about half the price, taken away without notice.",
        ("never", "overflow", "mixed"),
    ),
    Field("interruptible_share", NUMBER, "Most of what serves that may vanish at once, 0 to 1."),
    Field("max_usd_per_hour", NUMBER, "Cap on dollars per hour."),
    Field("max_usd_per_day", NUMBER, "Cap on dollars per UTC day."),
    Field("max_usd_per_month", NUMBER, "Cap on dollars per month."),
)

AUTOGROUP_FIELDS = (
    Field("template_hash", click.STRING, "Template of the workers."),
    Field("template_id", WHOLE, "Template by number instead."),
    Field("search_params", click.STRING, "Machines wanted, e.g. 'gpu_ram>=23 num_gpus=1'."),
    Field("launch_args", click.STRING, "Launch flags, when there is no template."),
    Field("gpu_ram", NUMBER, "Model size in GB, to estimate download times."),
    Field("test_workers", WHOLE, "Workers to rent and measure at the start."),
    Field("weight", NUMBER, "Share of requests, relative to the others' weights."),
    Field("tier", WHOLE, "0 is served first; higher tiers take what overflows."),
    Field(
        "interruptible",
        click.STRING,
        "As the group's; auto: what the group says.",
        ("auto", "never", "overflow", "mixed"),
    ),
    Field(
        "ticket",
        click.STRING,
        "Ticket generation, if detection fails.",
        ("auto", "A", "B", "C", "D"),
    ),
)

ACCOUNT_FIELDS = (
    Field("max_usd_per_hour", NUMBER, "Cap on dollars per hour, all groups."),
    Field("max_usd_per_day", NUMBER, "Cap on dollars per UTC day."),
    Field("max_usd_per_month", NUMBER, "Cap on dollars per month."),
    Field("max_idle_usd_per_day", NUMBER, "Cap on dollars a day for workers that serve nobody."),
)

KEY_FIELDS = (
    Field("max_requests_per_s", NUMBER, "Requests per second."),
    Field("max_concurrent", WHOLE, "Requests waiting or served at once."),
    Field("max_load_per_s", NUMBER, "Load per second."),
    Field("share", NUMBER, "Weight against other keys when requests wait."),
)


def field_options(fields: Sequence[Field]) -> Callable[[F], F]:
    """Add one option per field; absent ones arrive as None."""

    def decorate(function: F) -> F:
        for one in reversed(fields):
            kind = Word(one.choices) if one.choices else one.type
            option = click.option(
                f"--{one.name.replace('_', '-')}", one.name, type=kind, help=one.help
            )
            function = option(function)
        return function

    return decorate


def given(values: Mapping[str, object]) -> dict[str, object]:
    """The values that were given."""
    return {name: value for name, value in values.items() if value is not None}


def parse_schedule(text: str) -> dict[str, object]:
    """A floor `CRON;DURATION;MIN_LOAD` or `…;TIMEZONE` as the API takes it.

    Raises:
        click.BadParameter: it has another shape.
    """
    parts = [part.strip() for part in text.split(";")]
    if len(parts) not in (3, 4):
        raise click.BadParameter(
            f"{text!r}: write CRON;DURATION;MIN_LOAD, such as '0 8 * * mon-fri;10h;200', in UTC or "
            "with a time zone as fourth part: ';Europe/Berlin'"
        )
    if not is_plain_number(parts[2]):
        raise click.BadParameter(f"{parts[2]!r} is not a load; give a number such as 200")
    return {
        "cron": parts[0],
        "duration_s": DURATION.convert(parts[1], None, None),
        "min_load": float(parts[2]),
        **({"timezone": parts[3]} if len(parts) == 4 else {}),
    }
