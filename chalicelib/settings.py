"""Settings: the only reader of the environment in the Lambda code.

Chalice sets these per stage in `.chalice/config.json`; `infra/core.yaml` creates what they name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

ROLES = ("", "hot", "reports", "scaler", "notifier")


class SettingsError(ValueError):
    """A variable is missing or unusable; the message names it and the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything a function reads from its environment."""

    stage: str
    table_prefix: str  # tables are PREFIX-config, -workers, -routing, -ledger, -events, -keys
    kms_alias: str  # symmetric key that wraps the pepper and the signing keys
    signer: str  # "wrapped" or "kms"
    vast_key_secret: str  # Secrets Manager name; read by the scaler alone
    vast_url: str
    scaler_function: str  # for pokes; empty: no poking (the devstack polls)
    public_url: str  # what workers report to; empty: as the ledger's account has it
    allow_loopback_workers: bool  # the local system only
    role: str  # one of ROLES; empty: the API handler, which serves every route
    round_interval_s: float
    pacing_scale: float  # of Vast's call intervals; 1 but for the local system
    root_certificate: str  # PEM of the root that signs workers' certificates; empty: none

    @staticmethod
    def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
        """Read and check the environment.

        Raises:
            SettingsError: for the first variable that is unusable.
        """
        env = os.environ if environment is None else environment
        stage = env.get("BALLAST_STAGE", "dev")
        signer = env.get("BALLAST_SIGNER", "wrapped")
        if signer not in ("wrapped", "kms"):
            raise SettingsError(f"BALLAST_SIGNER: {signer!r}; allowed: wrapped, kms")
        role = env.get("BALLAST_ROLE", "")
        if role not in ROLES:
            raise SettingsError(
                f"BALLAST_ROLE: {role!r}; allowed: hot, reports, scaler, notifier, or none"
            )
        return Settings(
            stage=stage,
            table_prefix=env.get("BALLAST_TABLE_PREFIX", f"ballast-{stage}"),
            kms_alias=env.get("BALLAST_KMS_ALIAS", f"alias/ballast-{stage}"),
            signer=signer,
            vast_key_secret=env.get("BALLAST_VAST_KEY_SECRET", f"ballast-{stage}/vast-api-key"),
            vast_url=env.get("BALLAST_VAST_URL", "https://console.vast.ai").rstrip("/"),
            scaler_function=env.get("BALLAST_SCALER_FUNCTION", ""),
            public_url=env.get("BALLAST_PUBLIC_URL", "").rstrip("/"),
            allow_loopback_workers=env.get("BALLAST_ALLOW_LOOPBACK_WORKERS", "") == "yes",
            role=role,
            root_certificate=env.get("BALLAST_ROOT_CERTIFICATE", ""),
            round_interval_s=_number(env, "BALLAST_ROUND_INTERVAL_S", 5.0),
            pacing_scale=_number(env, "BALLAST_PACING_SCALE", 1.0),
        )


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError as error:
        raise SettingsError(f"{name}: {text!r} is not a number") from error
    if not 0 < value < 1e6:
        raise SettingsError(f"{name}: {value} is out of bounds; allowed: above 0 to 1e6")
    return value
