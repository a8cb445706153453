"""Botocore's service models: looked up and read once in a process, not once for each session.

They are megabytes of JSON in 400 folders: moto's EC2, which its CloudFormation imports, makes three
sessions for them on import, and tests make hundreds. This package imports this module before those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.loaders import JSONFileLoader, Loader


def _read_once(load: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    read: dict[str, Any] = {}

    def load_file(self: Any, file_path: str) -> Any:
        if file_path not in read:
            read[file_path] = load(self, file_path)
        return read[file_path]

    return load_file


def _list_once(stock: Callable[[Any, str], list[str]]) -> Callable[[Any, str], list[str]]:
    listed: dict[tuple[str, ...], list[str]] = {}

    def list_available_services(self: Any, type_name: str) -> list[str]:
        key = (*self.search_paths, type_name)
        if key not in listed:
            listed[key] = stock(self, type_name)
        return list(listed[key])

    return list_available_services


Loader.list_available_services = _list_once(  # type: ignore[method-assign,assignment]
    Loader.list_available_services
)
JSONFileLoader.load_file = _read_once(JSONFileLoader.load_file)  # type: ignore[method-assign,assignment]
