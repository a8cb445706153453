"""The local system keeps away from real money."""

from __future__ import annotations

import pytest

from lab.local.system.environment import (
    RealCredentialsError,
    base_environment,
    refuse_real_credentials,
)


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "VAST_API_KEY",
        "CONTAINER_API_KEY",
    ],
)
def test_real_credentials_are_refused_by_name_and_never_shown(name: str) -> None:
    with pytest.raises(RealCredentialsError, match=name) as refusal:
        refuse_real_credentials({name: "s3cr3t", "PATH": "/bin"})
    assert "s3cr3t" not in str(refusal.value)
    assert f"env -u {name}" in str(refusal.value)


def test_dummy_credentials_pass_and_only_they() -> None:
    dummies = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    refuse_real_credentials(dummies)
    with pytest.raises(RealCredentialsError, match="AWS_SECRET_ACCESS_KEY"):
        refuse_real_credentials(dummies | {"AWS_SECRET_ACCESS_KEY": "s3cr3t"})


def test_the_functions_see_loopback_only() -> None:
    """No address, proxy or credential file of the surroundings is left."""
    environment = base_environment(
        {
            "HOME": "/home/me",
            "AWS_REGION": "eu-west-1",
            "HTTPS_PROXY": "http://proxy:3128",
            "https_proxy": "http://proxy:3128",
            "BALLAST_STAGE": "prod",
            "VAST_URL": "https://console.vast.ai",
        },
        aws_url="http://127.0.0.1:1",
        lambda_url="http://127.0.0.1:2",
        market_url="http://127.0.0.1:3",
        url="http://127.0.0.1:4",
    )
    addresses = [value for value in environment.values() if "://" in value]
    assert addresses
    assert all(value.startswith("http://127.0.0.1:") for value in addresses)
    assert environment["BALLAST_STAGE"] == "dev"
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert environment["HOME"] == "/home/me"
