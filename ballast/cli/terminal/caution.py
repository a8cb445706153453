"""Changes worth a second look before they are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MANY_WORKERS = 50
CAPS = ("max_usd_per_hour", "max_usd_per_day", "max_usd_per_month")


def risks(change: Mapping[str, object], current: Mapping[str, object]) -> Sequence[str]:
    """Sentences about what in a change could cost much money; none for an ordinary one."""
    found = []
    for name in ("max_workers", "cold_workers", "test_workers"):
        wanted, had = change.get(name), current.get(name) or 0
        if (
            isinstance(wanted, int)
            and isinstance(had, int | float)
            and wanted > max(MANY_WORKERS, had)
        ):
            found.append(f"{name} {wanted}: that many machines may be rented")
    for name in CAPS:
        wanted, had = change.get(name), current.get(name)
        if (
            isinstance(wanted, int | float)
            and isinstance(had, int | float)
            and wanted > 4 * had > 0
        ):
            found.append(f"{name} {wanted:g}: more than four times the present {had:g}")
    unset = change.get("unset")
    if isinstance(unset, list | tuple):
        found += [
            f"{name} is removed: only the account's caps remain" for name in CAPS if name in unset
        ]
    return found
