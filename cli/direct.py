"""Panic without the deployment: the scaler's own service, run here with the owner's credentials."""

from __future__ import annotations

from rich.console import Console

from cli.server import Json


def panic_directly(stage: str, notes: Console) -> tuple[Json, str]:
    """Destroy everything that the tables call ours; gives what to print.

    Raises:
        CliError: some instance could not be destroyed, or the tables could not be read.
    """
    raise NotImplementedError
