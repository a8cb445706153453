"""A plain run of the stories leaves the long ones out; `-m long`, or a name, asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`pytest tests/stories` takes less than two minutes."""
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    long = [
        item
        for item in items
        if item.path.is_relative_to(HERE) and item.get_closest_marker("long") is not None
    ]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
