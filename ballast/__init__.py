"""Ballast for people: `from ballast import Client, AsyncClient`; the command is `ballast`."""

from __future__ import annotations

from ballast.client.async_sdk import AsyncClient
from ballast.client.sdk import Client

__all__ = ["AsyncClient", "Client"]
