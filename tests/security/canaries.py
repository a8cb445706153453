"""Canaries: planted secrets, and a scan that finds them in whatever form a place keeps them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret by its name; it must not be found anywhere that is not meant to hold it."""

    name: str
    secret: bytes

    def is_in(self, data: bytes) -> bool:
        """Whether the bytes hold the secret: plain, in hex, in base64 at any offset, or quoted."""
        return any(form in data for form in _forms(self.secret))


@cache
def _forms(secret: bytes) -> frozenset[bytes]:
    """The secret as various encodings write it."""
    forms = {secret, secret.hex().encode(), quote(secret).encode()}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret)
        # Characters that also hold bits of the neighbours are left out.
        inner = text[(shift * 8 + 5) // 6 : len(text) // 4 * 4 - 4]
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return frozenset(forms)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What places hold, as bytes."""

    found: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, place: str, content: object) -> None:
        """Note what a place holds: text, bytes, or anything that JSON can tell."""
        if isinstance(content, bytes):
            data = content
        elif isinstance(content, str):
            data = content.encode()
        else:
            data = json.dumps(content, default=_as_text).encode()
        self.found.append((place, data))

    def leaks(self, canaries: Iterable[Canary]) -> set[tuple[str, str]]:
        """(place, canary) of every secret that was found."""
        known = list(canaries)
        return {
            (place, canary.name)
            for place, data in self.found
            for layer in unfold(data)
            for canary in known
            if canary.is_in(layer)
        }


def unfold(data: bytes) -> Iterator[bytes]:
    """The bytes, and what they are an archive or a compressed form of."""
    yield data
    for inner in (_inflate, _gunzip, _unzip, _untar):
        for layer in inner(data):
            yield from unfold(layer)


def _inflate(data: bytes) -> Iterator[bytes]:
    if data[:1] == b"\x78":
        with suppress(zlib.error):  # the first chunk of several is a cut stream: take what is there
            yield zlib.decompressobj().decompress(data)


def _gunzip(data: bytes) -> Iterator[bytes]:
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)


def _unzip(data: bytes) -> Iterator[bytes]:
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode() + b"\n" + archive.read(name)


def _untar(data: bytes) -> Iterator[bytes]:
    if data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                yield member.name.encode() + b"\n" + (content.read() if content else b"")


def _as_text(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("latin-1")
    return str(value)


def dump_tables(evidence: Evidence, dynamodb: Any, prefix: str) -> int:
    """Note every attribute of every item of the deployment's tables; gives the number of items."""
    n_items = 0
    for table in dynamodb.list_tables()["TableNames"]:
        if not table.startswith(f"{prefix}-"):
            continue
        for page in dynamodb.get_paginator("scan").paginate(TableName=table):
            for item in page["Items"]:
                n_items += 1
                key = json.dumps(item, default=lambda _: "bytes")[:60]
                _each_leaf(item, partial(evidence.add, f"{table} {key}"))
    return n_items


def _each_leaf(value: object, note: Callable[[object], None]) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            note(name)
            _each_leaf(inner, note)
    elif isinstance(value, list | tuple):
        for inner in value:
            _each_leaf(inner, note)
    elif isinstance(value, bytes | bytearray):
        note(bytes(value))
    else:
        note(str(value))
