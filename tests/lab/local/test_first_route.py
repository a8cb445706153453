"""The first `/route/` of a fresh instance of the hot function, on the local AWS."""

from __future__ import annotations

import json
import subprocess
import sys

from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import Owner

PROMISED_S = 4.0  # requirements, item 50
PROGRAM = """
import json, sys, time
import app
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import event_of
event = event_of("POST", "/route/", sys.stdin.buffer.read(), {})
answer = app.hot(event, LambdaContext("hot", PROMISED_S))
print(json.dumps({"status": answer["statusCode"], "cpu_s": time.process_time()}))
"""


def test_a_cold_start_answers_its_first_route_in_time(system: LocalSystem) -> None:
    """By the processor's clock: interpreter, imports, clients, keys, view and answer."""
    owner = Owner(system.url, system.account_key)
    endpoint_id = owner.create_group("first-route", max_workers=0)
    body = {"endpoint": "first-route", "api_key": system.account_key, "cost": 8}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("PROMISED_S", str(PROMISED_S))],
        input=json.dumps(body),
        env={**system.environment, "BALLAST_ROLE": "hot"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == 200, done.stdout
    assert told["cpu_s"] < PROMISED_S
    owner.delete_group(endpoint_id)
