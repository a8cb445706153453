"""DynamoDB's expressions, as far as the hot path's adapters write them; others are refused.

Conditions: comparisons, BETWEEN, attribute_exists, attribute_not_exists, begins_with, AND, OR,
parentheses. Updates: SET to a value, REMOVE, ADD of a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

Item = Mapping[str, Mapping[str, Any]]
Values = Mapping[str, Mapping[str, Any]]
Names = tuple[tuple[str, str], ...]
Condition = Callable[[Item, Values], bool]

_TOKEN = re.compile(r"\s*([#:]?\w+|<=|>=|<>|[=<>(),])")
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<>": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def plain(attribute: Mapping[str, Any]) -> Any:
    """An attribute's value, comparable with others of its type."""
    ((kind, value),) = attribute.items()
    return Decimal(value) if kind == "N" else value


@lru_cache(maxsize=256)
def condition(text: str, names: Names) -> Condition:
    """A condition, ready to be asked of an item.

    Raises:
        ValueError: it uses what this reader does not know.
    """
    reader = _Reader(text, dict(names))
    found = reader.either()
    reader.end()
    return found


@lru_cache(maxsize=256)
def update(text: str, names: Names) -> tuple[tuple[str, str, str], ...]:
    """(verb, attribute, value's name) of each part; REMOVE has no value.

    Raises:
        ValueError: it uses what this reader does not know.
    """
    reader, parts = _Reader(text, dict(names)), []
    while reader.is_more:
        verb = reader.take("SET", "ADD", "REMOVE")
        while True:
            name = reader.name()
            if verb == "SET":
                reader.take("=")
            parts.append((verb, name, "" if verb == "REMOVE" else reader.value()))
            if not reader.skip(","):
                break
    return tuple(parts)


class _Reader:
    def __init__(self, text: str, names: Mapping[str, str]) -> None:
        self._tokens: list[str] = _TOKEN.findall(text)
        if "".join(self._tokens) != re.sub(r"\s", "", text):
            raise ValueError(f"not read: {text!r}")
        self._names, self._at = names, 0

    @property
    def is_more(self) -> bool:
        return self._at < len(self._tokens)

    def end(self) -> None:
        if self.is_more:
            raise ValueError(f"not read: {' '.join(self._tokens[self._at :])}")

    def skip(self, token: str) -> bool:
        is_next = self.is_more and self._tokens[self._at].upper() == token
        self._at += is_next
        return is_next

    def take(self, *tokens: str) -> str:
        found = self._tokens[self._at].upper()
        if found not in tokens:
            raise ValueError(f"{self._tokens[self._at]!r} instead of {tokens}")
        self._at += 1
        return found

    def name(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        return self._names[token] if token.startswith("#") else token

    def value(self) -> str:
        token = self._tokens[self._at]
        if not token.startswith(":"):
            raise ValueError(f"{token!r} is no value")
        self._at += 1
        return token

    def either(self) -> Condition:
        parts = [self.both()]
        while self.skip("OR"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda i, v: any(part(i, v) for part in parts)

    def both(self) -> Condition:
        parts = [self.one()]
        while self.skip("AND"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else lambda i, v: all(part(i, v) for part in parts)

    def one(self) -> Condition:
        if self.skip("("):
            inner = self.either()
            self.take(")")
            return inner
        for function in ("attribute_exists", "attribute_not_exists", "begins_with"):
            if self.skip(function.upper()):
                return self._function(function)
        name = self.name()
        if self.skip("BETWEEN"):
            low = self.value()
            self.take("AND")
            high = self.value()
            return lambda i, v: name in i and plain(v[low]) <= plain(i[name]) <= plain(v[high])
        compare, value = _COMPARED[self.take(*_COMPARED)], self.value()
        return lambda i, v: name in i and compare(plain(i[name]), plain(v[value]))

    def _function(self, function: str) -> Condition:
        self.take("(")
        name = self.name()
        if function == "begins_with":
            self.take(",")
            value = self.value()
            self.take(")")
            return lambda i, v: name in i and i[name]["S"].startswith(v[value]["S"])
        self.take(")")
        is_wanted = function == "attribute_exists"
        return lambda i, _: (name in i) is is_wanted
