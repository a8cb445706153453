"""The whole of Ballast on this machine: AWS, marketplace, functions, scaler, each a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from chalicelib.settings import Settings
from lab.local.gateway.gateway import FAULTS_FILE_VARIABLE
from lab.local.gateway.servers import start_aws, start_gunicorn
from lab.local.processes.children import ChildError, Children, listen, url_of
from lab.local.system.environment import DUMMY_VAST_KEY, base_environment, refuse_real_credentials
from lab.local.system.scaler_process import PAUSE_S

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a caller may choose."""

    port: int = 0  # 0: any free one
    market_file: Path | None = None
    time_scale: float = 20.0  # of the market's delays and bills; requests take real time
    seed: int = 1
    n_gateways: int = 1  # gateway processes, each with GATEWAY_THREADS threads
    round_interval_s: float = 2.0
    schedule_pause_s: float = (
        PAUSE_S  # between two runs of the scaler's schedule; pokes run it, too
    )
    state_directory: Path | None = None  # None: a temporary one, removed at the end
    has_ministack: bool = False  # as the local AWS, instead of moto; needs `make ministack`


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalSystem:
    """A running system."""

    url: str
    account_key: str
    market_url: str
    state_directory: Path
    environment: Mapping[str, str]  # of the functions: for programs that speak to the local AWS
    children: Children

    @property
    def table_prefix(self) -> str:
        """Of the tables in the local AWS."""
        return Settings.from_environment(self.environment).table_prefix

    def dynamodb(self) -> DynamoDBClient:
        """A client of the local AWS, to look at what the functions wrote."""
        client: DynamoDBClient = boto3.client(
            "dynamodb",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )
        return client

    def check(self) -> None:
        """Make sure that every part still runs.

        Raises:
            ChildError: one ended by itself.
        """
        self.children.check()


@contextmanager
def local_system(options: Options, say: Say) -> Iterator[LocalSystem]:
    """Run the system while the block runs; at its end no process is left.

    Raises:
        RealCredentialsError: the environment holds real credentials.
        ChildError: a part did not start.
    """
    refuse_real_credentials(os.environ)
    directory = options.state_directory or Path(tempfile.mkdtemp(prefix="ballast-"))
    children = Children(directory / "logs")
    try:
        yield _start(options, directory, children, say)
    finally:
        children.stop()
        if options.state_directory is None:
            shutil.rmtree(directory, ignore_errors=True)


def _start(options: Options, directory: Path, children: Children, say: Say) -> LocalSystem:
    front, aws, scaler, market = listen(options.port), listen(), listen(), listen()
    url, market_url = url_of(front), url_of(market)
    if options.port and not url.endswith(f":{options.port}"):
        say(f"port {options.port} is taken; using {url}")
    environment = base_environment(
        os.environ, aws_url=url_of(aws), lambda_url=url_of(scaler), market_url=market_url, url=url
    ) | {
        "BALLAST_ROUND_INTERVAL_S": str(options.round_interval_s),
        "BALLAST_PACING_SCALE": str(1.0 / options.time_scale),
    }

    emulator = "MiniStack" if options.has_ministack else "moto, corrected"
    say(f"starting a local AWS ({emulator}): DynamoDB, KMS, Secrets Manager")
    start_aws(children, aws.fileno(), environment, has_ministack=options.has_ministack)
    arguments = _market_arguments(options, directory, market.fileno())
    children.start("market", arguments, environment, fd=market.fileno())
    say("creating tables and keys as a deployment does")
    account_key = _bootstrap(children, environment)
    say(f"starting Ballast's functions at {url} and the scaler")
    start_gunicorn(
        children,
        "gateway",
        "lab.local.gateway.gateway",
        front.fileno(),
        environment | _gateway_environment(directory),
        options.n_gateways,
    )
    children.start(
        "scaler",
        [
            *("-m", "lab.local.system.scaler_process", "--fd", str(scaler.fileno())),
            *("--pause", str(options.schedule_pause_s)),
        ],
        environment | {"BALLAST_ROLE": "scaler"},
        fd=scaler.fileno(),
    )
    for listener in (front, aws, scaler, market):
        listener.close()
    return LocalSystem(
        url=url,
        account_key=account_key,
        market_url=market_url,
        state_directory=directory,
        environment=environment,
        children=children,
    )


def _gateway_environment(directory: Path) -> dict[str, str]:
    """Its faults, and its access log: never the query, which may hold a key."""
    log = access_log_path(directory)
    logged = "%(t)s %(m)s %(U)s %(s)s %(a)s"  # time, method, path, status, client
    return {
        "GUNICORN_CMD_ARGS": f"--access-logfile {log} --access-logformat '{logged}'",
        FAULTS_FILE_VARIABLE: str(directory / "gateway-faults.json"),
    }


def access_log_path(state_directory: Path) -> Path:
    """Where the gateway notes every request."""
    return state_directory / "logs" / "access.log"


def _market_arguments(options: Options, directory: Path, fd: int) -> list[str]:
    market = ["--market", str(options.market_file)] if options.market_file else []
    return [
        *("-m", "lab.local.market.marketplace_server", "--fd", str(fd)),
        *("--time-scale", str(options.time_scale), "--seed", str(options.seed)),
        *("--state", str(directory / "instances"), "--api-key", DUMMY_VAST_KEY, *market),
    ]


def _bootstrap(children: Children, environment: Mapping[str, str]) -> str:
    """Run `lab.local.system.bootstrap` to its end; gives the first admin key.

    Raises:
        ChildError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "lab.local.system.bootstrap"],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        children.check()
        raise ChildError(f"the deployment's bootstrap failed:\n{done.stderr[-3000:]}")
    return str(json.loads(done.stdout)["account_key"])
