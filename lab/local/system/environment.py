"""What the local system's processes find in their environment: dummy credentials, loopback only."""

from __future__ import annotations

from collections.abc import Mapping

STAGE = "dev"
REGION = "us-east-1"
DUMMY_CREDENTIAL = "testing"
DUMMY_VAST_KEY = "vast-key-of-the-local-market"
VAST_KEY_SECRET = f"ballast-{STAGE}/vast-api-key"
SCALER_FUNCTION = f"ballast-{STAGE}-scaler"

_AWS_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_AWS_OTHER_SOURCES = (
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_VAST_CREDENTIALS = ("VAST_API_KEY", "VAST_URL", "CONTAINER_API_KEY")
_DROPPED_PREFIXES = ("AWS_", "VAST_", "BALLAST_", "POWERTOOLS_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class RealCredentialsError(Exception):
    """The environment may reach real money; the message names the variables and the way out."""


def refuse_real_credentials(environment: Mapping[str, str]) -> None:
    """Refuse to run beside credentials that could spend money.

    Raises:
        RealCredentialsError: naming what was found, never its value.
    """
    found = [n for n in _AWS_CREDENTIALS if environment.get(n, DUMMY_CREDENTIAL) != "testing"]
    found += [
        n
        for n in (*_AWS_OTHER_SOURCES, *_VAST_CREDENTIALS)
        if environment.get(n, DUMMY_VAST_KEY) not in ("", DUMMY_VAST_KEY)
    ]
    if found:
        unset = " ".join(f"-u {name}" for name in found)
        raise RealCredentialsError(
            f"real credentials in the environment: {', '.join(found)}. The local system needs none "
            f"and does not start beside them; run it as `env {unset} …`"
        )


def base_environment(
    environment: Mapping[str, str], *, aws_url: str, lambda_url: str, market_url: str, url: str
) -> dict[str, str]:
    """The environment of the functions: as on AWS, with every address on loopback.

    Files with credentials and proxies of the surroundings are out of reach.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(_DROPPED_PREFIXES) and name.lower() not in _PROXIES
    }
    return kept | {
        "AWS_ACCESS_KEY_ID": DUMMY_CREDENTIAL,
        "AWS_SECRET_ACCESS_KEY": DUMMY_CREDENTIAL,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ENDPOINT_URL_LAMBDA": lambda_url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "BALLAST_STAGE": STAGE,
        "BALLAST_VAST_URL": market_url,
        "BALLAST_VAST_KEY_SECRET": VAST_KEY_SECRET,
        "BALLAST_SCALER_FUNCTION": SCALER_FUNCTION,
        "BALLAST_PUBLIC_URL": url,
        "BALLAST_ALLOW_LOOPBACK_WORKERS": "yes",
        "POWERTOOLS_SERVICE_NAME": "ballast",
        "POWERTOOLS_METRICS_NAMESPACE": "Ballast",
        "PYTHONUNBUFFERED": "1",
    }
