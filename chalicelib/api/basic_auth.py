"""Credentials in headers: Bearer keys of callers, Basic passwords of instances."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping


def bearer_key(headers: Mapping[str, str]) -> str:
    """The key of `Authorization: Bearer KEY`, or an empty text."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def basic_password(headers: Mapping[str, str]) -> str:
    """The password of `Authorization: Basic …`, or an empty text."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return pair.partition(":")[2]
