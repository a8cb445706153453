"""KMS's request quota, shared by an account and region (docs/internals/aws-rules.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from fakes.aws.functions import Bucket
from fakes.ports.clock import ManualClock

SYMMETRIC_PER_S, RSA_PER_S = 10_000.0, 1_000.0


@dataclass(slots=True)
class QuotaKms:
    """A KMS client, corrected moto's say, behind the quota. `others_per_s`: the neighbours' use."""

    client: Any
    clock: ManualClock
    others_per_s: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    n_throttled: int = 0
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A call of the client, counted and held to the quota of its kind."""
        inner: Callable[..., Any] = getattr(self.client, name)

        def call(**arguments: Any) -> Any:
            self.calls[name] += 1
            if not self._bucket(name).take(self.clock.now()):
                self.n_throttled += 1
                text = "You have exceeded the rate at which you may call KMS. Reduce the frequency"
                error = {"Error": {"Code": "ThrottlingException", "Message": text}}
                raise ClientError(error, name)  # type: ignore[arg-type]
            return inner(**arguments)

        return call

    def _bucket(self, name: str) -> Bucket:
        quota = RSA_PER_S if name == "sign" else SYMMETRIC_PER_S
        left = max(0.0, quota - self.others_per_s)
        bucket = self._buckets.setdefault(name, Bucket(left, left))
        bucket.rate = bucket.burst = left
        return bucket
