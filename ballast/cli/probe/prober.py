"""Tries each thing that Ballast takes for granted, on the real marketplace or a pretend one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ballast.cli.probe.bids import lose_bid
from ballast.cli.probe.findings import Findings
from ballast.cli.probe.records import Recorder, call_of
from ballast.cli.probe.returning import return_machine
from ballast.cli.probe.values import (
    DISK_GB,
    PORT,
    Json,
    host_port,
    is_cost,
    is_number,
    is_routed,
    shape_of,
    worst_usd,
)
from chalicelib.adapters.vast.errors import refusal
from chalicelib.adapters.vast.http import NoAnswerError, Send, VastAnswer, VastRequest
from chalicelib.adapters.vast.row_check import unmet_condition
from chalicelib.core.fleet.pacing import MARGIN_S, MIN_INTERVAL_S, Verb
from chalicelib.core.scaling.moves.cold_pool import SETTLES_S
from chalicelib.ports.clock import Clock
from chalicelib.ports.marketplace import RateLimitedError, RefusedError
from chalicelib.wire import vast as wire

IMAGE = "alpine:3.20"
MARKER = "ballast-probe-was-here"
BOOT_S = 600.0
LISTED_S = 60.0
STOPPED_S = 300.0
POLL_S = 10.0
KNOWN_STATES = frozenset(
    {None, "created", "loading", "running", "stopped", "exited", "frozen", "rebooting", "unknown",
     "offline", "scheduling", "destroyed"}
)  # fmt: skip
RIGHT_OF = {
    "list": "right:instance_read", "search": "right:misc", "template": "right:user_read",
    "credit": "right:user_read",
}  # fmt: skip
_VERB_OF = {
    "list": Verb.LIST, "search": Verb.SEARCH, "template": Verb.TEMPLATE, "credit": Verb.CREDIT,
    "create": Verb.CREATE, "show": Verb.SHOW, "state": Verb.START, "destroy": Verb.DESTROY,
    "logs": Verb.LOGS, "bid": Verb.START,
}  # fmt: skip


class ProbeStoppedError(Exception):
    """The probe cannot go on; the message says why."""


@dataclass(slots=True)
class Prober:
    """One probe. It rents at most one machine, and `left` names what it could not see gone."""

    url: str
    api_key: str = field(repr=False)
    send: Send
    clock: Clock
    recorder: Recorder
    findings: Findings = field(default_factory=Findings)
    left: list[str] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)  # first seconds at which a state was seen
    _next_at: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Everything that is free and changes nothing."""
        self._look_at_listing()
        self._look_at_offers()
        status, body = self.ask("GET", "/api/v0/users/current/")
        credit = body.get("credit")
        self.findings.add("credit:number", is_number(credit) if status == 200 else None,
                          f"{type(credit).__name__}")  # fmt: skip
        params = wire.template_params("0" * 32)
        status, body = self.ask("GET", "/api/v0/template/", params=params)
        found = body.get("templates")
        self.findings.add("template:list", found == [] if status == 200 else None, shape_of(found))
        status, body = self.ask("GET", "/api/v0/instances/1/", params={"owner": "me"})
        is_absent = status == 404 or (status == 200 and body.get("instances", "") is None)
        self.findings.add("show:absent", is_absent, f"HTTP {status}")

    def rent_one(self, max_usd: float, *, interruptible: bool = False) -> None:
        """Rent one cheap machine, try it, destroy it, and see that it is gone.

        Whatever happens on the way, an interruption too, the machine is destroyed or named.

        Raises:
            ProbeStoppedError: no offer fits under the cap; nothing was rented.
        """
        offer, price = self._cheapest(max_usd, interruptible)
        label = f"ballast-probe-{secrets.token_hex(8)}"
        contract: int | None = None
        try:
            contract = self._create(offer, label, price if interruptible else None)
            instance_id = self._try_machine(contract, label, price)
            if interruptible and instance_id is not None:
                lose_bid(self, instance_id, label)
        finally:
            return_machine(self, contract, label)

    def _look_at_listing(self) -> None:
        ids: list[object] = []
        token, total, n_pages = None, None, 0
        while n_pages < 40:
            status, body = self.ask("GET", "/api/v1/instances/", params=wire.listing_params(token))
            rows = body.get("instances")
            if status != 200 or not isinstance(rows, list):
                self.findings.add("list:members", False if status == 200 else None, shape_of(body))
                return
            n_pages, total = n_pages + 1, body.get("total_instances")
            ids += [row.get("id") if isinstance(row, dict) else None for row in rows]
            self.findings.add("list:page", len(rows) <= wire.PAGE_SIZE, f"{len(rows)} rows")
            has_members = "next_token" in body and isinstance(total, int)
            self.findings.add("list:members", has_members, ", ".join(sorted(body))[:120])
            self._check_states(rows)
            next_token = body.get("next_token")
            if not isinstance(next_token, str) or not next_token or next_token == token:
                break
            token = next_token
        is_unique = len(set(map(str, ids))) == len(ids) and all(isinstance(i, int) for i in ids)
        self.findings.add("list:unique", is_unique, f"{len(ids)} rows on {n_pages} pages")
        self.findings.add("list:total", total == len(ids), f"{total} told, {len(ids)} came")

    def _look_at_offers(self) -> None:
        query: dict[str, dict[str, object]] = {
            "verified": {"eq": True}, "num_gpus": {"eq": 1}, "dph_total": {"lte": 1.0},
            "disk_space": {"gte": DISK_GB},
        }  # fmt: skip
        body = wire.search_body(query, disk_gb=DISK_GB, limit=16)
        status, answer = self.ask("POST", "/api/v0/bundles/", body=body)
        rows = answer.get("offers")
        is_list = isinstance(rows, list) and bool(rows)
        self.findings.add("search:rows", is_list if status == 200 else None, shape_of(rows))
        if not isinstance(rows, list) or not rows:
            return
        dicts = [row for row in rows if isinstance(row, dict)]
        unmet = [name for row in dicts if (name := unmet_condition(row, body))]
        self.findings.add("search:filters", not unmet, ", ".join(sorted(set(unmet))) or "all met")
        prices = [row.get("dph_total") for row in dicts]
        numbers: list[float] = [p for p in prices if is_number(p)]
        self.findings.add("search:sorted", numbers == sorted(numbers), f"{len(numbers)} prices")
        self.findings.add("search:limit", len(rows) <= 16, f"{len(rows)} of at most 16")
        needed = ("id", "machine_id", "gpu_name", "num_gpus", "dph_total", "storage_cost")
        missing = sorted({name for row in dicts for name in needed if name not in row})
        self.findings.add("offer:members", not missing, ", ".join(missing) or "all there")
        costs = ("dph_total", "storage_cost", "inet_up_cost", "inet_down_cost")
        odd = {n for row in dicts for n in costs if n in row and not is_cost(row[n])}
        self.findings.add("offer:numbers", not odd, ", ".join(sorted(odd)) or "numbers")
        self._check_storage(dicts)

    def _check_storage(self, rows: list[dict[str, object]]) -> None:
        for row in rows:
            monthly, hourly = row.get("storage_cost"), row.get("storage_total_cost")
            if isinstance(monthly, int | float) and isinstance(hourly, int | float) and hourly > 0:
                hours = monthly * DISK_GB / hourly
                self.findings.add("offer:storage", abs(hours - 720.0) < 2.0, f"{hours:.0f} h")

    def _cheapest(self, max_usd: float, interruptible: bool) -> tuple[Json, float]:
        query: dict[str, dict[str, object]] = {
            "num_gpus": {"eq": 1},
            "verified": {"eq": True},
            "inet_down": {"gte": 100},
        }
        body = wire.search_body(query, disk_gb=DISK_GB, limit=16)
        body |= {"type": "bid"} if interruptible else {}
        _, answer = self.ask("POST", "/api/v0/bundles/", body=body)
        rows = answer.get("offers")
        fitting = []
        for row in rows if isinstance(rows, list) else []:
            price = row.get("min_bid" if interruptible else "dph_total")
            usd = worst_usd(row, price)
            if usd is not None and usd <= max_usd and not unmet_condition(row, body):
                fitting.append((usd, float(price), row))
        if not fitting:
            raise ProbeStoppedError(
                f"no offer stays within ${max_usd:.2f} for 30 minutes of price, disk and image"
            )
        _, price, row = min(fitting, key=lambda item: item[0])
        return row, price

    def _create(self, offer: Json, label: str, bid: float | None) -> int | None:
        body = wire.create_body(
            label=label,
            template_hash=None,
            disk_gb=DISK_GB,
            env={f"-p {PORT}:{PORT}": "1", "BALLAST_PROBE": MARKER},
            options={
                "image": IMAGE,
                "runtype": "args",
                "args": ["sh", "-c", f"echo {MARKER}; sleep 1800"],
            },
        )
        if bid is not None:
            body["price"] = bid
        status, answer = self.ask("PUT", f"/api/v0/asks/{offer['id']}/", body=body)
        contract = answer.get("new_contract")
        is_named = isinstance(contract, int) and not isinstance(contract, bool)
        self.findings.add("create:contract", is_named, f"HTTP {status}: {shape_of(contract)}")
        return contract if isinstance(contract, int) and is_named else None

    def _try_machine(self, contract: int | None, label: str, price: float) -> int | None:
        """Everything that a machine must do; gives its id once it ran."""
        began_at = self.clock.now()
        row = self.await_row(contract, label, LISTED_S, lambda row: True)
        self.findings.add("create:listed", row is not None, "listed" if row else "not listed")
        took_s = self.clock.now() - began_at
        self.findings.add("create:settles", row is not None and took_s <= SETTLES_S,
                          f"listed after {took_s:.0f} s")  # fmt: skip
        if row is None:
            return None
        self.findings.add("label:kept", row.get("label") == label,
                          "as sent" if row.get("label") == label else "otherwise")  # fmt: skip
        told = json.dumps(row.get("extra_env"))
        self.findings.add("env:kept", MARKER in told, "as sent" if MARKER in told else "missing")
        total = row.get("dph_total")
        is_kept = isinstance(total, int | float) and total <= price * 1.05 + 1e-6
        self.findings.add("price:kept", is_kept, f"{total} for an offer of {price:.4f}")
        row = self.await_row(contract, label, BOOT_S, lambda r: r.get("actual_status") == "running")
        took_s = self.clock.now() - began_at
        self.findings.add("boot:running", row is not None, f"{took_s:.0f} s, {sorted(self.times)}")
        if row is None:
            return None
        address = str(row.get("public_ipaddr") or "").strip()
        self.findings.add("address:public", is_routed(address), "routed" if is_routed(address)
                          else "missing or not routed")  # fmt: skip
        row = self.await_row(contract, label, LISTED_S, lambda r: host_port(r) is not None)
        self.findings.add("ports:mapped", row is not None, "mapped" if row else "not mapped")
        instance_id = int(str(contract or (row or {}).get("id") or 0))
        self._try_calls(instance_id, label)
        return instance_id

    def _try_calls(self, instance_id: int, label: str) -> None:
        path = f"/api/v0/instances/request_logs/{instance_id}/"
        _, answer = self.ask("PUT", path, body={"tail": "100"})
        text = self._fetch_log(answer.get("result_url"))
        self.findings.add("logs:read", MARKER in text, f"{len(text)} characters")
        path = f"/api/v0/instances/{instance_id}/"
        self.ask("PUT", path, body={"state": "stopped"})
        row = self.await_row(
            instance_id, label, STOPPED_S, lambda r: r.get("cur_state") == "stopped"
        )
        self.findings.add("stop:kept", row is not None, "stopped, listed" if row else "not seen")
        status, answer = self.ask("PUT", path, body={"state": "running"})
        error = refusal(Verb.START, status, json.dumps(answer), self.clock.now())
        is_queued = isinstance(error, RefusedError) and error.code == "resources_unavailable"
        said = "queued" if is_queued else "started" if error is None else str(error)
        self.findings.add("start:answered", error is None or is_queued, said)

    def _fetch_log(self, url: object) -> str:
        if not isinstance(url, str) or not url.startswith(("https://", f"{self.url}/")):
            return ""
        for _ in range(30):
            self.clock.sleep(1.0)
            try:
                answer = self.send(VastRequest(method="GET", url=url, api_key=""))
            except NoAnswerError:
                continue
            if answer.status == 200:
                return answer.text
        return ""

    def await_row(
        self, contract: int | None, label: str, wait_s: float, is_it: Callable[[Json], bool]
    ) -> Json | None:
        """The listed row of the machine once it is so; None if that did not come in time."""
        ends_at = self.clock.now() + wait_s
        while True:
            for row in self.rows() or ():
                is_ours = row.get("id") == contract or label in str(row.get("label"))
                if is_ours and is_it(row):
                    return row
            if self.clock.now() >= ends_at:
                return None
            self.clock.sleep(POLL_S)

    def rows(self) -> list[dict[str, object]] | None:
        """All rows of the listing; None if it could not be read to its end."""
        found: list[dict[str, object]] = []
        token: str | None = None
        for _ in range(40):
            status, body = self.ask("GET", "/api/v1/instances/", params=wire.listing_params(token))
            rows = body.get("instances")
            if status != 200 or not isinstance(rows, list):
                return None
            found += [row for row in rows if isinstance(row, dict)]
            self._check_states(rows)
            next_token = body.get("next_token")
            if not isinstance(next_token, str) or not next_token or next_token == token:
                return found
            token = next_token
        return None

    def _check_states(self, rows: list[object]) -> None:
        words = {row.get("actual_status") for row in rows if isinstance(row, dict)}
        for word in words:
            self.times.setdefault(str(word), self.clock.now())
        unknown = sorted(str(w) for w in words if w not in KNOWN_STATES)
        self.findings.add("state:words", not unknown, ", ".join(unknown) or "all known")

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> tuple[int, Json]:
        """One call at its turn; a 429 is waited out. (0, {}) if nothing came."""
        call = call_of(method, self.url + path)
        verb = _VERB_OF[call]
        request = VastRequest(
            method=method,
            url=self.url + path,
            params=params or {},
            body=body,
            api_key=self.api_key,
        )
        answer, error = VastAnswer(0, ""), None
        for _ in range(4):
            self.clock.sleep(max(0.0, self._next_at.get(call, 0.0) - self.clock.now()))
            try:
                answer = self.send(request)
            except NoAnswerError:
                return 0, {}
            now = self.clock.now()
            self._next_at[call] = now + MIN_INTERVAL_S[verb] + MARGIN_S
            error = refusal(verb, answer.status, answer.text, now, answer.headers)
            self._record(call, answer, error)
            if not isinstance(error, RateLimitedError):
                break
            self.clock.sleep(min(error.retry_after_s, 120.0))
        self._judge_right(call, answer, error)
        try:
            value = json.loads(answer.text)
        except ValueError:
            value = {}
        return answer.status, value if isinstance(value, dict) else {}

    def _judge_right(self, call: str, answer: VastAnswer, error: object) -> None:
        if call in RIGHT_OF:
            is_refused = answer.status in (401, 403) or (
                isinstance(error, RefusedError) and error.code == "auth_error"
            )
            self.findings.add(RIGHT_OF[call], not is_refused, f"{call}: HTTP {answer.status}")

    def _record(self, call: str, answer: VastAnswer, error: object) -> None:
        if error is not None or not any(
            r["call"] == call and r["status"] == 200 for r in self.recorder.records
        ):
            self.recorder.keep(call, answer.status, answer.headers, answer.text, "seen")
