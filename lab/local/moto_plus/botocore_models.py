"""Botocore's service models: each is read once in a process, not once for each session.

They are megabytes of JSON: moto's EC2, which its CloudFormation imports, makes three sessions for
them on import, and tests make hundreds. This package imports this module before those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.loaders import JSONFileLoader


def _read_once(load: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    read: dict[str, Any] = {}

    def load_file(self: Any, file_path: str) -> Any:
        if file_path not in read:
            read[file_path] = load(self, file_path)
        return read[file_path]

    return load_file


JSONFileLoader.load_file = _read_once(JSONFileLoader.load_file)  # type: ignore[method-assign,assignment]
