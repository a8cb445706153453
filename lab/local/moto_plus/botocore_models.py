"""Botocore's service models: looked up and read once in a process, not once for each session.

They are megabytes of JSON in 400 folders: moto's EC2, which its CloudFormation imports, makes three
sessions for them on import, and tests make hundreds. This package imports this module before those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.loaders import JSONFileLoader, Loader

from lab.local.moto_plus.correcting import instead_of

_READ: dict[str, Any] = {}
_LISTED: dict[tuple[str, ...], list[str]] = {}


@instead_of(JSONFileLoader, "load_file")
def _read_once(_self: Any, stock: Callable[[str], Any], file_path: str) -> Any:
    if file_path not in _READ:
        _READ[file_path] = stock(file_path)
    return _READ[file_path]


@instead_of(Loader, "list_available_services")
def _list_once(self: Any, stock: Callable[[str], list[str]], type_name: str) -> list[str]:
    key = (*self.search_paths, type_name)
    if key not in _LISTED:
        _LISTED[key] = stock(type_name)
    return list(_LISTED[key])
