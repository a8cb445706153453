"""The app over fakes, for every test of routes."""

from __future__ import annotations

import pytest

from tests.api.over_fakes import Api


@pytest.fixture
def api() -> Api:
    """An empty deployment."""
    return Api()
