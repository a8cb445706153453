"""Ballast's management API in memory, over HTTP: for tests of the command and the dashboard.

It answers with the real API's shapes, keeps every call in `calls`, and serves the dashboard's files
under the same content security policy. `fakes/console/console_scenes.py` fills it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chalicelib.api.errors import WHAT_A_KEY_IS
from chalicelib.services.owner.caution import account_risks, new_name, risks
from chalicelib.services.owner.views.health import scaler_silence
from fakes.local_http import QuietHandler, serving

Json = dict[str, Any]

KEY = "blk.a-roa-console.1.fake"
DASHBOARD = Path(__file__).parents[2] / "chalicelib" / "dashboard"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
_OK: Json = {"success": True}
_CHANGED: tuple[int, Json] = (
    409, {"success": False, "error": "conflict", "msg": "changed since it was read; read it again"},
)  # fmt: skip


@dataclass
class Call:
    """One call that came in."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Json


@dataclass
class Console:
    """The state behind the API; tests change it freely between calls."""

    status: Json
    endpoints: dict[int, Json] = field(default_factory=dict)
    autogroups: dict[int, Json] = field(default_factory=dict)
    workers: dict[int, list[Json]] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)  # newest first
    series: Json = field(default_factory=lambda: {"t": [], "values": {}})
    answers: dict[str, Json] = field(default_factory=dict)  # by path, for everything else
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # by path
    failures: dict[str, tuple[int, Json]] = field(default_factory=dict)  # whole answers, by path
    raw: dict[str, tuple[int, str, bytes]] = field(
        default_factory=dict
    )  # what is no answer of ours
    delays_s: dict[str, float] = field(default_factory=dict)  # by path: decided at once, sent later
    calls: list[Call] = field(default_factory=list)
    is_looking: bool = True  # the scaler lists between any two looks at the status

    def sent(self, method: str, path: str) -> list[Json]:
        """The bodies of the calls of this method and path."""
        return [one.body for one in self.calls if (one.method, one.path) == (method, path)]

    def answer(self, call: Call, key: str) -> tuple[int, Json | list[Json]]:
        """Status and content of one call."""
        self.calls.append(call)
        if key != KEY:
            return 401, {
                "success": False,
                "error": "auth_error",
                "msg": f"Key not accepted: {WHAT_A_KEY_IS}",
            }
        if call.path in self.failures:
            return self.failures[call.path]
        if call.path in self.refusals:
            status, message = self.refusals[call.path]
            return status, {"success": False, "error": "refused", "msg": message}
        for prefix, rows in (
            ("/api/v0/endptjobs/", self.endpoints),
            ("/api/v0/autojobs/", self.autogroups),
        ):
            if call.path.startswith(prefix):
                return self._row(call, rows, call.path.removeprefix(prefix).strip("/"))
        if call.path == "/get_endpoint_workers/":
            return 200, self.workers.get(int(call.body["id"]), [])
        return self._other(call)

    def _other(self, call: Call) -> tuple[int, Json]:
        if call.path == "/api/v0/status":
            wanted = call.query.get("endpoint_id")
            inventory = self.status["account"]["inventory"]
            inventory["at"] = (inventory["at"] or 0.0) + self.is_looking
            scaler = self.status["account"]["scaler"]
            scaler["silence"] = scaler_silence(scaler["last_round_at"] or 0.0, self.status["now"])
            groups = [g for g in self.status["groups"] if wanted in (None, str(g["id"]))]
            return 200, _OK | self.status | {"groups": groups}
        if call.path.rstrip("/") in ("/api/v0/account", "/api/v0/caps"):
            return self._set_caps(call.body)
        if call.path == "/api/v0/freeze":
            frozen = call.body["frozen"]
            self.status["account"]["is_frozen"] = frozen
            return 200, _OK | {"frozen": frozen, "stage": self.status.get("stage", "dev")}
        limit = int(call.query.get("limit", 100))
        known: dict[str, Json] = {
            "/api/v0/events": {"events": self.events[:limit]},
            "/api/v0/series": self.series,
            "/api/v0/adopt": {"instances": [], "n_confirmed": 0, "n_disowned": 0},
        }
        if call.path == "/api/v0/preview":
            known[call.path] = {"offers": None, "warnings": [], **self._judged(call.body)}
        known |= self.answers
        if call.path in known:
            return 200, _OK | known[call.path]
        return 404, {"success": False, "error": "not_found", "msg": f"no route {call.path}"}

    def _set_caps(self, body: Json) -> tuple[int, Json]:
        caps = self.status.get("account", {}).get("caps", {})
        expected: Json = body.get("expected") or {}
        if any(caps.get(name.removeprefix("max_")) != usd for name, usd in expected.items()):
            return _CHANGED
        given = {name: usd for name, usd in body.items() if name.startswith("max_")}
        caps.update({name.removeprefix("max_"): usd for name, usd in given.items()})
        return 200, _OK

    def _judged(self, body: Json) -> Json:
        """What a change is asked about: the server's own judgement, over the console's rows."""
        caps = {f"max_{k}": v for k, v in self.status.get("account", {}).get("caps", {}).items()}
        said = account_risks(caps, body.get("account") or {})
        for name, rows in (("endpoint", self.endpoints), ("autogroup", self.autogroups)):
            row = rows.get(int(body.get(f"{name}_id") or 0), {})
            changed: Json = body.get(name) or {}
            said += risks(row, {**row, **changed, **dict.fromkeys(changed.get("unset", ()))})
        wanted = (body.get("autogroup") or {}).get("endpoint_name")
        names = [row["endpoint_name"] for row in self.endpoints.values()]
        if wanted and wanted not in names and "endpoint" not in body:
            said.append(new_name(wanted, names))
        return {"risks": said, "must_ask": bool(said)}

    def _row(self, call: Call, rows: dict[int, Json], identity: str) -> tuple[int, Json]:
        if call.method == "GET" and not identity:
            return 200, _OK | {"results": list(rows.values())}
        if call.method == "POST":
            created = 1 + max(rows, default=0)
            rows[created] = {"id": created, "given": sorted(call.body)} | self._named(call.body)
            return 200, _OK | {"result": created, "id": created}
        if not identity.isdigit() or int(identity) not in rows:
            return 404, {"success": False, "error": "not_found", "msg": "ID not found"}
        row = rows[int(identity)]
        if call.method == "PUT":
            if call.body.get("revision") not in (None, row.get("revision")):
                return _CHANGED
            row.update({name: v for name, v in call.body.items() if name != "revision"})
            if "revision" in row:
                row["revision"] += 1
        elif call.method == "DELETE":
            del rows[int(identity)]
        name = "endpoint" if rows is self.endpoints else "autogroup"
        told = {"GET": {"result": row}, "PUT": {name: row}}
        return 200, _OK | told.get(call.method, {})

    def _named(self, body: Json) -> Json:
        """An autogroup's row names and numbers its endpoint, whichever of the two was given."""
        for row in self.endpoints.values():
            if (
                body.get("endpoint_id") == row["id"]
                or body.get("endpoint_name") == row["endpoint_name"]
            ):
                return body | {"endpoint_id": row["id"], "endpoint_name": row["endpoint_name"]}
        return dict(body)


@contextmanager
def serve(console: Console) -> Iterator[str]:
    """Serve a console on 127.0.0.1; gives its URL."""
    handler = type("Handler", (_Handler,), {"console": console})
    with serving(handler) as address:
        yield f"http://{address}"


class _Handler(QuietHandler):
    """Files for a GET below /dashboard, JSON for all else."""

    console: Console

    def answer(self) -> None:
        """One call."""
        parts = urlsplit(self.path)
        if self.command == "GET" and parts.path.startswith("/dashboard"):
            self._send_file(parts.path.removeprefix("/dashboard").strip("/"))
            return
        body = json.loads(self.read() or b"{}")
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        call = Call(self.command, parts.path, dict(parse_qsl(parts.query)), body)
        status, content = self.console.answer(call, key)
        packed = json.dumps(content).encode()
        time.sleep(self.console.delays_s.get(call.path, 0.0))  # noqa: TID251  a slow server
        self._send(*self.console.raw.get(call.path, (status, "application/json", packed)))

    def _send_file(self, name: str) -> None:
        files = {path.name: path for path in DASHBOARD.rglob("*") if path.is_file()}
        path = files.get(name or "index.html")
        if path is None:
            self._send(404, "text/plain", b"no such file")
        else:
            self._send(200, _TYPES[path.suffix], path.read_bytes())

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        self.reply(
            status,
            content,
            Content_Type=f"{content_type}; charset=utf-8",
            Content_Security_Policy=CONTENT_SECURITY_POLICY,
        )
