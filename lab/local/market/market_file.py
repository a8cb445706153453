"""Market files: TOML → a market's configuration and its first templates.

```toml
credit_usd = 500.0
[timings]            # seconds; fields of fakes.market.market_config.Timings
load_median_s = 240.0
[odds]               # fields of fakes.market.market_config.Odds
boot_error = 0.05
[[models]]           # fields of fakes.market.market_config.GpuModel; replaces the default models
name = "RTX 4090"
gpu_ram_gb = 24.0
[[templates]]        # as in Vast's create-template call
name = "hello"
```
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from fakes.market.market_config import GpuModel, MarketConfig, Odds, Timings

DEFAULT_MARKET_FILE = Path(__file__).parent / "default.toml"
Value = TypeVar("Value", Timings, Odds)


class MarketFileError(ValueError):
    """The file cannot be used; the message names the entry."""


@dataclass(frozen=True, slots=True)
class MarketFile:
    """What a file describes."""

    config: MarketConfig
    templates: tuple[Mapping[str, object], ...]


def load_market_file(path: Path = DEFAULT_MARKET_FILE) -> MarketFile:
    """Read and check a market file.

    Raises:
        MarketFileError: unreadable, no TOML, or an entry that does not exist.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise MarketFileError(f"{path}: {error}") from error
    templates = content.pop("templates", [])
    models = content.pop("models", None)
    config = MarketConfig(
        timings=_with_entries(Timings(), content.pop("timings", {}), "timings"),
        odds=_with_entries(Odds(), content.pop("odds", {}), "odds"),
    )
    if models is not None:
        config = replace(config, models=tuple(_model(entry) for entry in models))
    _check_names(content, MarketConfig, "top level")
    return MarketFile(replace(config, **_with_tuples(content)), tuple(templates))


def _model(entry: Mapping[str, object]) -> GpuModel:
    _check_names(entry, GpuModel, "models")
    try:
        return GpuModel(**_with_tuples(entry))
    except TypeError as error:
        raise MarketFileError(f"models: {error}") from error


def _with_tuples(entries: Mapping[str, object]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in entries.items()}


def _with_entries(default: Value, entries: Mapping[str, float], section: str) -> Value:
    _check_names(entries, type(default), section)
    return replace(default, **entries)


def _check_names(entries: Mapping[str, object], kind: type, section: str) -> None:
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(entries) - known)
    if unknown:
        raise MarketFileError(f"{section}: {unknown[0]!r} is unknown; known: {sorted(known)}")
