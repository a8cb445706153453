"""Groups of workers for the peers' tests: made on first use, shared, returned at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.local.system.local_system import LocalSystem, access_log_path
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import FAST_MODEL, LocalTemplate, onstart, register_templates

READY_TIMEOUT_S = 300.0

OURS = LocalTemplate(
    name="peers: our TGI PyWorker",
    onstart=onstart(FAST_MODEL, "workers.tgi.server"),
    env={"BACKEND": "tgi", "MODEL_ID": "simulated"},
)
VENDOR = LocalTemplate(
    name="peers: vendor's SDK worker", onstart=onstart(FAST_MODEL, "tests.peers.vendor_worker")
)
GENERATION_A = LocalTemplate(
    name="peers: generation A", onstart=onstart(FAST_MODEL, "tests.peers.generation_a_worker")
)

MAKE_CERTIFICATE = """\
export TLS_CERT=$PWD/worker.crt TLS_KEY=$PWD/worker.key
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=worker \\
  -addext subjectAltName=IP:127.0.0.1 -keyout "$TLS_KEY" -out "$TLS_CERT" 2>/dev/null
"""
OURS_WITH_TLS = LocalTemplate(
    name="peers: our TGI PyWorker with a certificate nobody knows",
    onstart=MAKE_CERTIFICATE + onstart(FAST_MODEL, "workers.tgi.server"),
    env={"BACKEND": "tgi", "MODEL_ID": "simulated", "USE_SSL": "true"},
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A group whose workers are all wanted ready: its floor is above what they can give."""

    system: LocalSystem
    name: str
    endpoint_id: int
    autogroup_ids: tuple[int, ...]

    @property
    def owner(self) -> Owner:
        """Calls with the account key."""
        return Owner(self.system.url, self.system.account_key)

    def wait_ready(self, n_workers: int) -> list[dict[str, object]]:
        """Wait for this many ready workers; gives their rows."""

        def enough() -> list[dict[str, object]]:
            rows = self.owner.ready_workers(self.endpoint_id)
            return rows if len(rows) >= n_workers else []

        return wait_until(
            f"{n_workers} ready workers of {self.name}",
            enough,
            READY_TIMEOUT_S,
            shown=lambda: [
                (row["id"], row["status"], row.get("error"))
                for row in self.owner.workers(self.endpoint_id)
            ],
        )


@dataclass(slots=True)
class Fleets:
    """Makes fleets by name, once each."""

    system: LocalSystem
    _fleets: dict[str, Fleet] = field(default_factory=dict)

    def get(self, name: str, templates: Mapping[LocalTemplate, int]) -> Fleet:
        """A group with so many ready workers of each template."""
        if name not in self._fleets:
            self._fleets[name] = self._make(name, templates)
            self._fleets[name].wait_ready(sum(templates.values()))
        return self._fleets[name]

    def _make(self, name: str, templates: Mapping[LocalTemplate, int]) -> Fleet:
        owner = Owner(self.system.url, self.system.account_key)
        hashes = register_templates(self.system.market_url, list(templates))
        n_workers = sum(templates.values())
        endpoint_id = owner.create_group(name, min_load=1e9, max_workers=n_workers, cold_workers=0)
        autogroups = tuple(
            owner.create_autogroup(name, hashes[template.name], test_workers=n)
            for template, n in templates.items()
        )
        return Fleet(self.system, name, endpoint_id, autogroups)

    def adopt(self, name: str, endpoint_id: int) -> None:
        """Return a group at the end that somebody else made."""
        self._fleets[name] = Fleet(self.system, name, endpoint_id, ())

    def return_all(self) -> None:
        """Delete every group and wait until nothing is rented."""
        owner = Owner(self.system.url, self.system.account_key)
        market = MarketView(self.system.market_url)
        for fleet in self._fleets.values():
            owner.delete_group(fleet.endpoint_id)
        labels = tuple(f"{name} - " for name in self._fleets)
        wait_until(
            "all instances returned",
            lambda: not [r for r in market.instances() if str(r["label"]).startswith(labels)],
            READY_TIMEOUT_S,
            shown=market.instances,
        )


def n_route_calls(system: LocalSystem) -> int:
    """How often the vendor's client called `/route/` so far."""
    lines = access_log_path(system.state_directory).read_text().splitlines()
    return sum(" /route/ " in line and " vastai-sdk/" in line for line in lines)
