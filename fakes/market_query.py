"""Conditions of Vast's searches, evaluated: {"gpu_ram": {"gte": 23000.0}} (protocol.md F.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

Row = Mapping[str, object]
Conditions = Mapping[str, object]

_CONTROL_FIELDS = frozenset({"order", "type", "limit", "allocated_storage", "disable_bundling"})


class QueryError(ValueError):
    """A condition that Vast would answer with 400."""


def matches(row: Row, conditions: Conditions) -> bool:
    """Whether a row meets all conditions; a field that the row lacks counts as met, as at Vast.

    Raises:
        QueryError: an operator that does not exist.
    """
    return all(
        _meets(row[name], condition)
        for name, condition in conditions.items()
        if name in row and name not in _CONTROL_FIELDS
    )


def ordered(rows: Iterable[Row], order: object) -> list[Row]:
    """The rows by `[["dph_total", "asc"], …]`, the first field being the most important."""
    result = list(rows)
    for entry in reversed(order if isinstance(order, list) else []):
        name, direction = str(entry[0]), str(entry[1])
        result.sort(key=lambda row: _sort_key(row.get(name)), reverse=direction == "desc")
    return result


def _sort_key(value: object) -> tuple[int, float, str]:
    if isinstance(value, bool | int | float):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _meets(value: object, condition: object) -> bool:
    if not isinstance(condition, Mapping):
        return _equal(value, condition)
    return all(_operator(str(name))(value, wanted) for name, wanted in condition.items())


def _operator(name: str) -> Callable[[object, object], bool]:
    try:
        return _OPERATORS[name]
    except KeyError as error:
        raise QueryError(f"unknown operator {name!r}") from error


def _equal(value: object, wanted: object) -> bool:
    """Compare as Vast does: values of a query are mostly strings (protocol.md G 47)."""
    if isinstance(value, bool) or value is None or wanted is None or isinstance(wanted, bool):
        return value is wanted or str(value).lower() == str(wanted).lower()
    if isinstance(value, int | float):
        number = _number(wanted)
        return number is not None and number == float(value)
    return str(value) == str(wanted)


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _comparison(test: Callable[[float, float], bool]) -> Callable[[object, object], bool]:
    def compare(value: object, wanted: object) -> bool:
        a, b = _number(value), _number(wanted)
        return a is not None and b is not None and test(a, b)

    return compare


def _is_in(value: object, wanted: object) -> bool:
    return any(_equal(value, item) for item in (wanted if isinstance(wanted, list) else [wanted]))


_OPERATORS: Mapping[str, Callable[[object, object], bool]] = {
    "eq": _equal,
    "neq": lambda value, wanted: not _equal(value, wanted),
    "gt": _comparison(lambda a, b: a > b),
    "gte": _comparison(lambda a, b: a >= b),
    "lt": _comparison(lambda a, b: a < b),
    "lte": _comparison(lambda a, b: a <= b),
    "in": _is_in,
    "notin": lambda value, wanted: not _is_in(value, wanted),
}
