"""Tickets: what `/route/` returns and a worker verifies, in the four generations that exist.

A, B and C sign the indent-4 JSON text of some visible fields (protocol facts: the vendor's 2024
PyWorker signs cost, endpoint, reqnum, url; late-2025 ones add request_idx; SDK 1.9 signs url only).
D is ours: the signature field carries a compact claims blob and the RSA signature over that blob,
so that a ticket is bound to its worker, that worker's boot, its cost and a time window.

A signature is base64(RSASSA-PKCS1-v1_5(SHA-256(bytes))).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from dataclasses import dataclass

Number = int | float

MAX_EXACT_INT = 2**53  # beyond it JavaScript clients change integers
MAX_COST = 1e9  # of one request
TICKET_HEADER = "X-Ballast-Ticket"
"""The signature once more, so that a worker knows a caller before it reads a large body."""
LOG_PATH = "/model_log"
"""At a worker: its model server's log, for a ticket that opens nothing else."""


class TicketError(ValueError):
    """The text is not a ticket of the expected generation."""


def wire_number(value: float) -> Number:
    """A number in the one form that survives Python and JavaScript clients alike.

    JavaScript turns 100.0 into 100; A and B workers re-serialise what they get, so integral values
    are signed and sent as integers.

    Raises:
        TicketError: not finite, negative, or an integer beyond 2**53.
    """
    if not (0 <= value < MAX_EXACT_INT):  # also false for NaN
        raise TicketError(f"number {value!r} is not within 0 to 2**53")
    rounded = round(value, 6)
    return int(rounded) if rounded == int(rounded) else rounded


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """The visible fields of a grant."""

    cost: Number
    endpoint: str
    reqnum: int
    request_idx: int
    url: str

    def signed_bytes_a(self) -> bytes:
        """What a generation-A worker rebuilds and checks."""
        return _indented(
            {
                "cost": self.cost,
                "endpoint": self.endpoint,
                "reqnum": self.reqnum,
                "url": self.url,
            }
        )

    def signed_bytes_b(self) -> bytes:
        """What a generation-B worker rebuilds and checks."""
        return _indented(
            {
                "cost": self.cost,
                "endpoint": self.endpoint,
                "reqnum": self.reqnum,
                "request_idx": self.request_idx,
                "url": self.url,
            }
        )

    def signed_bytes_c(self) -> bytes:
        """What a generation-C worker rebuilds and checks: constant per worker."""
        return _indented({"url": self.url})


def _indented(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, indent=4).encode()


# ------------------------------------------------------------------------------------ generation D

_MAGIC, _LIMITED_MAGIC, _NAMED_MAGIC, _LOG_MAGIC = b"BD1", b"BD2", b"BD3", b"BDL"
"""The second one: an allowance follows the texts. The third: so does the name of the key, after it.
The fourth opens the model's log, and no route."""
_FIXED = struct.Struct(">3sdqq8sqqddHH")
"""magic, cost, reqnum, request_idx, boot id, instance id, endpoint id, issued, expires, lengths."""


_ALLOWANCE = struct.Struct(">dIId")
_NAME_SIZE = struct.Struct(">B")


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What a ticket of a key with limits buys: what was taken from its quotas, and no more.

    It binds a single request and a whole session alike. 0 and infinity: unlimited.
    """

    max_load: float = math.inf  # of all its requests, as the worker counts what they ask for
    max_requests: int = 0
    max_at_once: int = 0
    ends_at: float = math.inf  # of a session, in epoch seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What a generation-D signature binds. Times in epoch seconds, `boot_id` 16 hex digits.

    `key`: the name of the caller's key, for sessions, which end with it; only for workers that read
    it. With it a missing allowance is written as that of no limits.
    """

    cost: float
    endpoint: str
    endpoint_id: int
    url: str
    reqnum: int
    request_idx: int
    instance_id: int
    boot_id: str
    issued_at: float
    expires_at: float
    allowance: Allowance | None = None
    reads_log: bool = False  # for the owner: the model server's log instead of a request
    key: str = ""

    def to_bytes(self) -> bytes:
        """The blob that is signed.

        Raises:
            TicketError: `boot_id` is not 16 hex digits, a text is too long, or reading the log
                has an allowance or a key.
        """
        if self.reads_log and (self.allowance or self.key):
            raise TicketError("a ticket for the log has no allowance and no key")
        endpoint, url = self.endpoint.encode(), self.url.encode()
        try:
            boot = bytes.fromhex(self.boot_id)
            fixed = _FIXED.pack(
                self._magic,
                self.cost,
                self.reqnum,
                self.request_idx,
                boot,
                self.instance_id,
                self.endpoint_id,
                self.issued_at,
                self.expires_at,
                len(endpoint),
                len(url),
            )
        except (ValueError, struct.error) as error:
            raise TicketError(f"claims cannot be packed: {error}") from error
        if len(boot) != 8:
            raise TicketError(f"boot_id {self.boot_id!r} is not 16 hex digits")
        return fixed + endpoint + url + self._terms()

    @property
    def _magic(self) -> bytes:
        if self.reads_log:
            return _LOG_MAGIC
        if self.key:
            return _NAMED_MAGIC
        return _LIMITED_MAGIC if self.allowance else _MAGIC

    def _terms(self) -> bytes:
        """What follows the texts: the allowance and the key's name."""
        if not self.key:
            return _allowance_bytes(self.allowance) if self.allowance else b""
        name = self.key.encode()
        try:
            size = _NAME_SIZE.pack(len(name))
        except struct.error as error:
            raise TicketError(f"a key's name of 255 bytes at most, not {len(name)}") from error
        return _allowance_bytes(self.allowance or Allowance()) + size + name

    @staticmethod
    def from_bytes(blob: bytes) -> Claims:
        """The claims in a blob whose signature was verified.

        Raises:
            TicketError: not exactly one claims blob.
        """
        magics = (_MAGIC, _LIMITED_MAGIC, _NAMED_MAGIC, _LOG_MAGIC)
        if len(blob) < _FIXED.size or not blob.startswith(magics):
            raise TicketError("no generation-D claims")
        magic, cost, reqnum, idx, *fields = _FIXED.unpack_from(blob)
        boot, instance, endpoint_id, issued, expires, n_endpoint, n_url = fields
        texts = blob[_FIXED.size :]
        n_texts = n_endpoint + n_url
        if len(texts) < n_texts:
            raise TicketError("claims have the wrong length")
        allowance, name = _read_terms(magic, texts[n_texts:])
        try:
            endpoint, url = texts[:n_endpoint].decode(), texts[n_endpoint:n_texts].decode()
            key = name.decode()
        except UnicodeDecodeError as error:
            raise TicketError("claims are not UTF-8") from error
        return Claims(
            cost=cost,
            endpoint=endpoint,
            endpoint_id=endpoint_id,
            url=url,
            reqnum=reqnum,
            request_idx=idx,
            instance_id=instance,
            boot_id=boot.hex(),
            issued_at=issued,
            expires_at=expires,
            allowance=allowance,
            reads_log=magic == _LOG_MAGIC,
            key=key,
        )


def _read_terms(magic: bytes, rest: bytes) -> tuple[Allowance | None, bytes]:
    """The allowance and the key's name that follow the texts, and nothing else."""
    allowance, name = None, b""
    try:
        if magic in (_LIMITED_MAGIC, _NAMED_MAGIC):
            load, requests, at_once, ends_at = _ALLOWANCE.unpack_from(rest)
            allowance = Allowance(
                max_load=load, max_requests=requests, max_at_once=at_once, ends_at=ends_at
            )
            rest = rest[_ALLOWANCE.size :]
        if magic == _NAMED_MAGIC:
            (n_name,) = _NAME_SIZE.unpack_from(rest)
            name, rest = rest[1 : 1 + n_name], rest[1 + n_name :]
            if not 0 < len(name) == n_name:
                raise TicketError("claims have the wrong length")
    except struct.error as error:
        raise TicketError("claims have the wrong length") from error
    if rest:
        raise TicketError("claims have the wrong length")
    return allowance, name


def _allowance_bytes(allowance: Allowance) -> bytes:
    return _ALLOWANCE.pack(
        allowance.max_load, allowance.max_requests, allowance.max_at_once, allowance.ends_at
    )


def join_signature(claims_blob: bytes, signature: bytes) -> str:
    """The `signature` field of a generation-D ticket."""
    return base64.b64encode(claims_blob + signature).decode()


def split_signature(text: str, signature_size: int) -> tuple[bytes, bytes]:
    """(claims blob, RSA signature) from a `signature` field; nothing is verified yet.

    Raises:
        TicketError: not base64, or too short.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TicketError("signature is not base64") from error
    if len(raw) <= signature_size:
        raise TicketError("signature is too short for generation D")
    return raw[:-signature_size], raw[-signature_size:]
