"""What AWS refuses is told with its cause and its own fix: `doctor`, direct brakes, `secret`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as sdk

from ballast.cli.remote.aws import CREDENTIALS_FIX, aws_trouble
from chalicelib import wiring
from chalicelib.ports.errors import StorageUnavailableError
from fakes.console.server import Console
from fakes.local_http import QuietHandler, serving

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py
EVIDENCE = Path(__file__).parents[2] / "evidence" / "aws" / "credentials.json"
RECORDED: list[dict[str, Any]] = json.loads(EVIDENCE.read_text())
IDENTITY = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/o</Arn>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@contextmanager
def aws_that_answers(
    status: int, code: str, *, body: str = "", identity: str = "", type_: str = "text/xml"
) -> Iterator[str]:
    """An endpoint that refuses everything so, as STS does, or in these words.

    `identity`: what STS answers all the same.
    """
    refusal = body or (
        f"<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
    )

    class Handler(QuietHandler):
        def answer(self) -> None:
            is_known = identity and b"GetCallerIdentity" in self.read()
            status_now, text = (200, identity) if is_known else (status, refusal)
            self.reply(status_now, text.encode(), Content_Type=type_)

    with serving(Handler) as address:
        yield f"http://{address}"


@pytest.mark.parametrize(
    ("status", "code", "found", "fix"),
    [
        (403, "ExpiredToken", "have expired", "aws sso login"),
        (403, "InvalidClientTokenId", "does not accept these credentials", "AWS_ACCESS_KEY_ID"),
        (400, "SignatureDoesNotMatch", "does not accept these credentials", "AWS_PROFILE"),
        (503, "ServiceUnavailable", "AWS fails (ServiceUnavailable)", "wait"),
        (400, "Throttling", "AWS turns requests away", "wait some seconds"),
        (403, "AccessDenied", "AWS refuses", "an identity that may deploy"),
    ],
)
def test_doctor_and_the_brakes_name_what_aws_says_and_what_to_do(
    ballast: Ballast,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    found: str,
    fix: str,
) -> None:
    console.answers["/api/v0/doctor"] = {"checks": []}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAX")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with aws_that_answers(status, code) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        told = ballast("doctor", "--stage", "prod", "--json")
        assert told.code == 5
        identity = told.json()[0]
        assert found in identity["detail"]
        assert fix in identity["fix"]


WORDS = {
    "ExpiredTokenException": ("have expired", "aws sso login"),
    "UnrecognizedClientException": ("does not accept these credentials", "AWS_ACCESS_KEY_ID"),
}


@pytest.fixture
def owner_in_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Credentials and a region; nothing that an earlier test's wiring keeps."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "ASIAX", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "old",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    wiring.reset()
    yield monkeypatch
    wiring.reset()


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: f"{row['service']}-{row['code']}")
@pytest.mark.parametrize(
    "words",
    [("freeze", "--direct"), ("unfreeze", "--direct", "--yes"), ("panic", "--direct", "--yes")],
)
def test_a_direct_brake_names_what_a_service_says_of_the_credentials(
    ballast: Ballast,
    owner_in_aws: pytest.MonkeyPatch,
    row: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    body = json.dumps(row["body"])
    with aws_that_answers(row["status"], "", body=body, type_=row["content_type"]) as url:
        owner_in_aws.setenv("AWS_ENDPOINT_URL", url)
        told = ballast(*words, "--stage", "prod")
    found, fix = WORDS[row["code"]]
    assert told.code != 0
    assert found in told.err
    assert fix in told.err
    assert "Traceback" not in told.err
    if words[0] == "panic":
        assert "ballast panic --vast-key-only" in told.err


@pytest.mark.parametrize(
    ("status", "code", "found"),
    [
        (500, "InternalServerError", "AWS fails (InternalServerError)"),
        (400, "ProvisionedThroughputExceededException", "AWS turns requests away"),
        (400, "ThrottlingException", "AWS turns requests away"),
    ],
)
def test_a_direct_brake_says_that_tables_fail_and_blames_no_credentials(
    ballast: Ballast, owner_in_aws: pytest.MonkeyPatch, status: int, code: str, found: str
) -> None:
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "m"})
    with aws_that_answers(status, "", body=body, type_="application/x-amz-json-1.0") as url:
        owner_in_aws.setenv("AWS_ENDPOINT_URL", url)
        told = ballast("freeze", "--direct", "--stage", "prod")
    assert told.code == 3
    assert found in told.err
    assert "wait" in told.err
    assert "identity" not in told.err


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: f"{row['service']}-{row['code']}")
def test_doctor_names_what_each_service_says_of_the_credentials(
    ballast: Ballast, console: Console, owner_in_aws: pytest.MonkeyPatch, row: dict[str, Any]
) -> None:
    """STS may still know who it is while the others refuse: each is asked for by itself."""
    console.answers["/api/v0/doctor"] = {"checks": []}
    body, type_ = json.dumps(row["body"]), row["content_type"]
    with aws_that_answers(row["status"], "", body=body, identity=IDENTITY, type_=type_) as url:
        owner_in_aws.setenv("AWS_ENDPOINT_URL", url)
        checks = {one["name"]: one for one in ballast("doctor", "--stage", "prod", "--json").json()}
    assert checks["AWS identity"]["ok"]
    found, fix = WORDS[row["code"]]
    for name in ("AWS tables", "AWS key", "AWS secret"):
        assert not checks[name]["ok"]
        assert found in checks[name]["detail"]
        assert fix in checks[name]["fix"]


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (sdk.NoCredentialsError(), "no AWS credentials", CREDENTIALS_FIX),
        (sdk.ProfileNotFound(profile="x"), "no AWS credentials", "AWS_PROFILE"),
        (sdk.NoRegionError(), "no AWS region", "AWS_DEFAULT_REGION"),
        (sdk.EndpointConnectionError(endpoint_url="https://sts"), "does not answer", "online"),
        (sdk.ReadTimeoutError(endpoint_url="https://sts"), "does not answer", "right region"),
        (sdk.UnauthorizedSSOTokenError(), "not signed in", "aws sso login"),
    ],
)
def test_what_never_reached_aws_is_told_apart(error: Exception, found: str, fix: str) -> None:
    for one in (error, caused_by(error)):
        said, do = aws_trouble(one)
        assert found in said
        assert fix in do


def caused_by(error: Exception) -> Exception:
    """As our adapters raise it."""
    port_error = StorageUnavailableError("config: not answered")
    port_error.__cause__ = error
    return port_error
