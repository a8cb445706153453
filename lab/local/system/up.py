"""`python -m lab.local up`: the local system until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from lab.local.processes.children import ChildError
from lab.local.system.environment import DUMMY_VAST_KEY, RealCredentialsError
from lab.local.system.local_system import LocalSystem, Options, local_system
from lab.local.system.templates import TGI_SIMULATED, register_templates

CHECK_INTERVAL_S = 1.0
DEFAULTS = Options()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--port", type=int, default=8080, help="of Ballast's API (8080)")
    parser.add_argument("--market", type=Path, help="market file (TOML): models, prices, faults")
    parser.add_argument(
        "--time-scale",
        type=float,
        default=DEFAULTS.time_scale,
        help="how much faster than real the market's delays and bills run (%(default)g)",
    )
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed, help="of the market's dice")
    parser.add_argument("--state", type=Path, help="keep logs and disks in this directory")
    parser.add_argument(
        "--json", action="store_true", help="say nothing but one JSON line when ready"
    )


def run(arguments: argparse.Namespace) -> int:
    """Stay up until a signal or the end of a part; gives the exit status."""
    end_by_signals()
    options = Options(
        port=arguments.port,
        market_file=arguments.market,
        time_scale=arguments.time_scale,
        seed=arguments.seed,
        state_directory=arguments.state,
    )
    try:
        with (
            suppress(KeyboardInterrupt),
            local_system(options, _quiet if arguments.json else print) as system,
        ):
            hashes = register_templates(system.market_url)
            _announce(system, hashes, as_json=arguments.json)
            _stay(system)
    except (RealCredentialsError, ChildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _announce(system: LocalSystem, hashes: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        facts = {
            "url": system.url,
            "account_key": system.account_key,
            "market_url": system.market_url,
            "pid": os.getpid(),
        }
        print(json.dumps(facts), flush=True)
        return
    templates = "\n".join(f"  {hash_id}  {name}" for name, hash_id in hashes.items())
    print(
        f"""
Ballast answers at   {system.url}      dashboard: {system.url}/dashboard
its market is        {system.market_url}      no real money can be spent here
logs and disks       {system.state_directory}

  export BALLAST_URL={system.url} BALLAST_API_KEY={system.account_key} \\
         BALLAST_VAST_URL={system.market_url} VAST_API_KEY={DUMMY_VAST_KEY} \\
         BALLAST_MARKET_URL={system.market_url} TEMPLATE_HASH={hashes[TGI_SIMULATED.name]}

from a model's name to an answer (whatever text model is named, SmolLM2-135M answers in its place):

  .venv/bin/ballast up Qwen/Qwen2.5-7B-Instruct --memory-gb 20 --max-usd-per-hour 1

templates of the market, for --template_hash and `ballast up`:
{templates}

Ctrl-C ends everything.""",
        flush=True,
    )


def _stay(system: LocalSystem) -> None:
    while True:
        system.check()
        time.sleep(CHECK_INTERVAL_S)


def end_by_signals() -> None:
    """Ctrl-C and SIGTERM end this process in order, also where a shell started it with `&`.

    Such a shell has its children ignore SIGINT.
    """
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.default_int_handler)


def _quiet(message: str) -> None:
    """Progress that nobody wants."""
    del message
