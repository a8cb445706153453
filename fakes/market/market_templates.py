"""Templates of the pretend market, addressed by a hash of their content as Vast's are."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping

from fakes.market.market_instance import DEFAULT_DISK_GB, RentalOrder
from fakes.market.market_refusal import MarketRefusal

CONTENT_FIELDS = (
    "name",
    "image",
    "tag",
    "env",
    "onstart",
    "extra_filters",
    "recommended_disk_space",
    "runtype",
    "desc",
    "href",
    "repo",
    "readme",
    "args_str",
    "jup_direct",
    "ssh_direct",
    "use_ssh",
    "use_jupyter_lab",
    "jupyter_dir",
    "docker_login_repo",
)
_FIRST_TEMPLATE_ID = 90_001


class TemplateShelf:
    """All templates; an edit makes a new hash, and the old one keeps its content."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, object]] = {}

    def add(self, content: Mapping[str, object], now: float) -> dict[str, object]:
        """The row of a template with this content, new or not."""
        values = {name: content.get(name) for name in CONTENT_FIELDS}
        if not isinstance(values["extra_filters"], str):
            values["extra_filters"] = json.dumps(values["extra_filters"] or {})
        canonical = json.dumps(values, sort_keys=True).encode()
        hash_id = hashlib.sha256(canonical).hexdigest()[:32]
        known = self.rows.get(hash_id)
        if known is None:
            known = {
                **values,
                "id": _FIRST_TEMPLATE_ID + len(self.rows),
                "hash_id": hash_id,
                "creator_id": 1,
                "created_at": now,
                "private": True,
            }
            self.rows[hash_id] = known
        return known

    def remove(self, hash_id: str) -> bool:
        """Whether there was one."""
        return self.rows.pop(hash_id, None) is not None


def parse_docker_flags(text: str) -> dict[str, str]:
    """A template's `env`, "-e A=B -p 3000:3000", as a create's dict: {"A": "B", "-p …": "1"}."""
    env: dict[str, str] = {}
    words = iter(shlex.split(text))
    for word in words:
        if word == "-p":
            env[f"-p {next(words, '')}"] = "1"
        elif word == "-e":
            name, _, value = next(words, "").partition("=")
            env[name] = value
    return {name: value for name, value in env.items() if name.strip() not in ("", "-p")}


def build_order(body: Mapping[str, object], shelf: TemplateShelf) -> RentalOrder:
    """What the body of a create asks for, over its template's values (protocol.md F.2).

    Raises:
        MarketRefusal: 400 for a template that does not exist.
    """
    hash_id = str(body.get("template_hash_id") or "")
    template = shelf.rows.get(hash_id, {})
    if hash_id and not template:
        raise MarketRefusal.stating(400, "invalid_args", f"no template {hash_id}")
    env, disk = body.get("env"), body.get("disk")
    own = parse_docker_flags(env) if isinstance(env, str) else env
    own_items = own.items() if isinstance(own, dict) else ()
    args = body.get("args") if body.get("runtype") == "args" else None
    return RentalOrder(
        args=tuple(str(word) for word in args) if isinstance(args, list) else (),
        label=str(body.get("label") or ""),
        disk_gb=float(disk) if isinstance(disk, int | float) else DEFAULT_DISK_GB,
        env={
            **parse_docker_flags(str(template.get("env") or "")),
            **{str(name): str(value) for name, value in own_items},
        },
        image=str(body.get("image") or template.get("image") or ""),
        onstart=str(body.get("onstart") or template.get("onstart") or ""),
        template_hash=hash_id,
        template_id=int(str(template.get("id") or 0)),
    )
