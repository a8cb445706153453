"""Multipart forms from JSON payloads: a value that is a data URL (RFC 2397) becomes a file."""

from __future__ import annotations

import binascii
import json
import re
from typing import TypeGuard

import aiohttp

from workers.pyworker.back_end import JsonObject, PayloadError

_HEAD = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[ -~]*", re.ASCII)
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_UNKNOWN = "application/octet-stream"


def is_data_url(value: object) -> TypeGuard[str]:
    """Whether it means to be a file in base64."""
    return isinstance(value, str) and value.startswith("data:") and ";base64," in value


def form_of(body: JsonObject, filename: str = "") -> aiohttp.FormData:
    """A form with these fields; lists repeat their field. `filename`: of files, if not the field's.

    Raises:
        PayloadError: a name or a file that no form can hold, with what is wrong with it.
    """
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in body.items():
        if not _NAME.fullmatch(name):
            raise PayloadError({repr(name)[:80]: "is no name of a field"})
        for one in value if isinstance(value, list) else [value]:
            if is_data_url(one):
                kind, content = _file_of(name, one)
                form.add_field(name, content, filename=filename or name, content_type=kind)
            elif one is not None:
                form.add_field(name, one if isinstance(one, str) else json.dumps(one))
    return form


def _file_of(name: str, data_url: str) -> tuple[str, bytes]:
    head, _, data = data_url.partition(";base64,")
    if not (found := _HEAD.fullmatch(head)):
        raise PayloadError({name: f"{head[:80]!r} is no type; write data:image/png;base64,…"})
    try:
        # Lines of 76 characters (RFC 2045) are base64, too; anything else would be dropped unsaid.
        return found[1] or _UNKNOWN, binascii.a2b_base64("".join(data.split()), strict_mode=True)
    except ValueError as error:
        raise PayloadError({name: f"is no base64: {error}"}) from error
