"""`python -m lab.bench coldstart`: import and init of the hot function against boto3's.

Fresh interpreters in turn; bytecode is on disk for both. The hot function finds botocore as the
deployed package has it (`infra/package.py`); the limit is a stock boto3.
`--untrimmed`: both on the stock one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import median

import botocore

from infra.package import is_wanted, slim

BUDGET = 1.3
LIMIT = "import boto3; boto3.client('dynamodb')"
OURS = "import app; from chalicelib import wiring; wiring.hot_ports()"
_TIMED = "import time; began = time.process_time(); {code}; print(time.process_time() - began)"
_ROOT = Path(__file__).parents[2]


def run_s(code: str, *folders: Path) -> float:
    """Seconds of CPU that the code takes in a fresh interpreter that finds `folders` first."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (*folders, _ROOT))),
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


def unpack_botocore(target: Path) -> None:
    """The installed botocore as it is deployed."""
    whole = Path(botocore.__file__).parent
    source, slimmed = target / "whole.zip", target / "slim.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for path in whole.rglob("*"):
            name = path.relative_to(whole.parent).as_posix()
            if path.is_file() and is_wanted(name):
                archive.write(path, name)
    slim(source, slimmed)
    with zipfile.ZipFile(slimmed) as archive:
        archive.extractall(target)


def main(argv: list[str]) -> int:
    """Measure and print; the exit code is 1 over budget."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench coldstart", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--untrimmed", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        unpack_botocore(Path(folder))
        folders = () if options.untrimmed else (Path(folder),)
        run_s(LIMIT), run_s(OURS, *folders)
        pairs = [(run_s(LIMIT), run_s(OURS, *folders)) for _ in range(options.runs)]
    figures = {
        "boto3_ms": round(median(a for a, _ in pairs) * 1e3, 1),
        "hot_ms": round(median(b for _, b in pairs) * 1e3, 1),
        "ratio": round(median(b / a for a, b in pairs), 3),
    }
    print(json.dumps(figures) if options.json else f"{figures} (budget {BUDGET})")
    return int(figures["ratio"] > BUDGET)
