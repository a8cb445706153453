"""`python -m bench coldstart`: import and init of the hot function against boto3 with one client.

Fresh interpreters in turn; bytecode is on disk for both, as it is in the deployed package.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from statistics import median

BUDGET = 1.3
LIMIT = "import boto3; boto3.client('dynamodb')"
OURS = "import app; from chalicelib import wiring; wiring.hot_ports()"
_TIMED = "import time; began = time.process_time(); {code}; print(time.process_time() - began)"


def run_s(code: str) -> float:
    """Seconds of CPU that the code takes in a fresh interpreter."""
    environment = {
        **os.environ,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "BALLAST_ROLE": "hot",
    }
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(code=code)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.split()[-1])


def main(argv: list[str]) -> int:
    """Measure and print; the exit code is 1 over budget."""
    parser = argparse.ArgumentParser(prog="bench coldstart", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    run_s(LIMIT), run_s(OURS)
    pairs = [(run_s(LIMIT), run_s(OURS)) for _ in range(options.runs)]
    figures = {
        "boto3_ms": round(median(a for a, _ in pairs) * 1e3, 1),
        "hot_ms": round(median(b for _, b in pairs) * 1e3, 1),
        "ratio": round(median(b / a for a, b in pairs), 3),
    }
    print(json.dumps(figures) if options.json else f"{figures} (budget {BUDGET})")
    return int(figures["ratio"] > BUDGET)
