"""How a correction takes the place of a stock method of moto's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import getattr_static
from typing import Any


def instead_of(owner: Any, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorated function becomes these methods of a class: (self, stock method, arguments…)."""

    def put(correction: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            setattr(owner, name, _method(owner, getattr_static(owner, name), correction))
        return correction

    return put


def _method(owner: type, stock: Any, correction: Callable[..., Any]) -> Any:
    @wraps(correction)
    def method(self: Any, *given: Any, **named: Any) -> Any:
        return correction(self, stock.__get__(self, owner), *given, **named)

    return classmethod(method) if isinstance(stock, classmethod) else method
