"""The back ends there are: every package beside `pyworker` that has a `server` module."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from workers.pyworker.back_end import BackEnd

_PACKAGES = Path(__file__).parent.parent


class BackEndError(ValueError):
    """BACKEND names no back end; the message lists those there are."""


def back_end_names() -> list[str]:
    """The names BACKEND may have, sorted."""
    return sorted(
        path.parent.name for path in _PACKAGES.glob("*/server.py") if path.parent.name != "pyworker"
    )


def load_back_end(name: str) -> BackEnd:
    """The back end `workers.NAME`.

    Raises:
        BackEndError: there is none of that name.
    """
    if name not in back_end_names():
        problem = "must be set" if not name else f"={name!r} is not known"
        raise BackEndError(f"BACKEND {problem}; one of: {', '.join(back_end_names())}")
    back_end = import_module(f"workers.{name}.server").BACK_END
    if not isinstance(back_end, BackEnd):
        raise BackEndError(f"workers.{name}.server.BACK_END is not a BackEnd")
    return back_end
