"""What the owner may choose about a deployment: the options of `python -m infra.deploy`."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from infra.bootstrap import FIRST_CAPS, Caps, with_first_caps
from infra.throttles import ACCOUNT_PER_S

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the owner asked for."""

    stage: str
    caps: Caps
    complete_caps: Callable[[Caps], Caps] = with_first_caps
    split: bool
    edge: bool
    ops: bool
    slim: bool
    functions: bool = True
    # None: as an earlier deployment left it, or the default of a new one.
    domain: str | None = None
    certificate_arn: str | None = None
    budget_email: str | None = None
    peak_per_s: float | None = None  # of routed requests
    api_quota: float = ACCOUNT_PER_S  # requests/s that AWS lets this account's APIs take
    access_log: bool | None = None
    protect_tables: bool = True
    vast_key: Callable[[], str] | None = None  # asked only if the secret is still empty
    mail: Callable[[], str] | None = None  # asks for an address; only while nobody is told
    root: Path = ROOT  # the checkout that Chalice packages

    def access_log_arn(self, account: str, region: str) -> str | None:
        """The log group of the edge's access log; "" for none, None for no change."""
        if self.access_log is None:
            return None
        name = f"/ballast/{self.stage}/edge"
        return f"arn:aws:logs:{region}:{account}:log-group:{name}" if self.access_log else ""


def ask_caps(given: Caps) -> Caps:
    """The caps of a new deployment: those that were not given are asked for, with small defaults.

    Raises:
        ValueError: an answer is no number.
    """
    defaults = asdict(FIRST_CAPS)
    answers: dict[str, float] = {}
    for name, value in asdict(given).items():
        if value is None:
            text = input(f"most {name.replace('_', ' ')} [{defaults[name]:g}]: ").strip()
            answers[name] = float(text or defaults[name])
    return replace(given, **answers)


def ask_mail() -> str:
    """Who is to be told of trouble; "" for nobody yet, as where nobody can be asked."""
    if not sys.stdin.isatty():  # a later `make deploy` needs no terminal for anything else
        return ""
    return input("e-mail address to be told of trouble [none yet]: ")


def parse(arguments: list[str] | None = None) -> Options:
    """Options from the command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description=__doc__)
    parser.add_argument(
        "part", nargs="?", choices=("all", "core"), default="all",
        help="core: tables, keys and alarms alone, before or after a plain `chalice deploy`",
    )  # fmt: skip
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--ask", action="store_true", help="ask for caps and the Vast key")
    parser.add_argument("--max-usd-per-hour", type=float)
    parser.add_argument("--max-usd-per-day", type=float)
    parser.add_argument("--max-usd-per-month", type=float)
    parser.add_argument("--split", action="store_true", help="one function and policy per task")
    parser.add_argument(
        "--no-edge",
        action="store_true",
        help="no edge: the REST API of Chalice alone; an edge that stands stays as it is",
    )
    parser.add_argument("--no-ops", action="store_true", help="no alarms, dashboard, budget")
    parser.add_argument(
        "--no-functions", action="store_true", help="they are there: CloudFormation made them"
    )
    parser.add_argument("--no-slim", action="store_true", help="leave Chalice's package as it is")
    parser.add_argument("--domain", help="kept from the last deployment; '' takes it away")
    parser.add_argument("--certificate-arn")
    parser.add_argument("--budget-email")
    parser.add_argument(
        "--peak", type=float, help="routed requests a second to expect; throttles follow from it"
    )
    parser.add_argument(
        "--api-quota", type=float, default=ACCOUNT_PER_S,
        help="requests a second that AWS lets this account's APIs take (%(default)s if unchanged)",
    )  # fmt: skip
    parser.add_argument("--access-log", action=argparse.BooleanOptionalAction)
    given = parser.parse_args(arguments)
    is_core = given.part == "core"
    asks = given.ask or (is_core and sys.stdin.isatty())
    return Options(
        stage=given.stage,
        caps=Caps(
            usd_per_hour=given.max_usd_per_hour,
            usd_per_day=given.max_usd_per_day,
            usd_per_month=given.max_usd_per_month,
        ),
        complete_caps=ask_caps if asks else with_first_caps,
        split=given.split,
        edge=not given.no_edge and not is_core,
        ops=not given.no_ops,
        slim=not given.no_slim,
        functions=not given.no_functions and not is_core,
        domain=given.domain,
        certificate_arn=given.certificate_arn,
        budget_email=given.budget_email,
        peak_per_s=given.peak,
        api_quota=given.api_quota,
        access_log=given.access_log,
        vast_key=(lambda: getpass.getpass("Vast API key (not shown): ")) if asks else None,
        mail=ask_mail if asks else None,
    )
