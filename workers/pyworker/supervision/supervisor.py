"""`python -m workers.pyworker.supervision.supervisor`: brings an instance up and keeps it up.

Checks the environment and the model's access, gets the TLS certificate, then starts the model
server and the PyWorker and starts again whichever ends. What prevents that is reported to the
control plane in words, so that the owner reads it instead of waiting for a worker that never loads.

The model server does not see MASTER_TOKEN and REPORT_ADDR, the PyWorker not HF_TOKEN; no secret is
written to a file.

The launch script starts the supervisor again, and the supervisor puts another in the launch
script's place should that be killed: no process of an instance ends unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from string import Template

import aiohttp

from workers.pyworker.back_end import BackEnd
from workers.pyworker.reporting.error_reports import ErrorReports
from workers.pyworker.reporting.log_format import set_up_logging
from workers.pyworker.settings import (
    SUPERVISOR_PID,
    ReporterIdentity,
    SettingsError,
    WorkerSettings,
)
from workers.pyworker.supervision import trouble
from workers.pyworker.supervision.caches import with_caches
from workers.pyworker.supervision.certificate import (
    CertificateError,
    check_certificate,
    has_good_certificate,
    make_request,
    store,
)
from workers.pyworker.supervision.child_process import ChildProcess
from workers.pyworker.supervision.preflight import (
    HubAnswer,
    PreflightError,
    check_environment,
    check_model_access,
)
from workers.pyworker.supervision.restarts import RestartPolicy
from workers.pyworker.supervision.tracing_packages import install_tracing

logger = logging.getLogger(__name__)

SIGN_ATTEMPTS = 5
RENEW_LOOK_S = 3600.0
"""Two days before a certificate ends it is renewed: some fifty tries."""
TIMEOUT = aiohttp.ClientTimeout(total=20)
DEFAULT_SIGNER = "https://console.vast.ai/api/v0/sign_cert/"
DEFAULT_HUB = "https://huggingface.co"
NOT_FOR_THE_MODEL = frozenset({"MASTER_TOKEN", "REPORT_ADDR"})
NOT_FOR_THE_PYWORKER = frozenset({"HF_TOKEN", "PYTHONPATH", "PYTHONHOME"})
"""The model's token, and an image's own Python packages: the PyWorker runs with its locked ones."""
LAUNCH_SCRIPT = Path(__file__).parents[3] / "start.sh"
"""In the bundle; a checkout has none there."""
LAUNCHER_POLL_S = 3.0
LAUNCH_ONCE_GONE = 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; exec sh "$2"'


class Supervisor:
    """One instance's supervisor."""

    def __init__(
        self,
        settings: WorkerSettings,
        env: Mapping[str, str],
        http: aiohttp.ClientSession,
        reports: ErrorReports,
    ) -> None:
        self._settings = settings
        self._env = env
        self._http = http
        self._reports = reports

    async def run(self) -> None:
        """Bring up and keep up until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if LAUNCH_SCRIPT.is_file():
                tasks.create_task(self._replace_lost_launcher(os.getppid()))
            try:
                back_end = check_environment(self._env)
                await check_model_access(self._env, self._ask_hub)
            except PreflightError as error:
                await self._reports.repeat(str(error))
                return
            if self._settings.use_ssl:
                await self._reports.until_done(
                    f"no TLS certificate at {self._settings.tls_cert}", self._get_certificate
                )
                tasks.create_task(self.keep_certificate())
            await install_tracing(self._env)
            for child in self._children(back_end):
                tasks.create_task(child.keep_running())

    def _children(self, back_end: BackEnd) -> list[ChildProcess]:
        pyworker = ChildProcess(
            name="PyWorker",
            command=(sys.executable, "-m", "workers.pyworker"),
            env={**_without(self._env, NOT_FOR_THE_PYWORKER), SUPERVISOR_PID: str(os.getpid())},
            report=self._reports.tell,
        )
        command = model_command(back_end, self._env)
        if not command:
            return [pyworker]
        model_server = ChildProcess(
            name="the model server",
            command=command,
            env=with_caches(_without(self._env, NOT_FOR_THE_MODEL), self._settings.state_dir),
            report=self._tell_of_model,
            log=Path(self._env["MODEL_LOG"]),
            policy=RestartPolicy(must_be_ready=True),
        )

        def note_ready() -> None:
            model_server.policy.note_ready()
            trouble.forget(self._settings.state_dir)

        trouble.forget(self._settings.state_dir)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, model_server.kill)
        loop.add_signal_handler(signal.SIGUSR2, note_ready)
        return [model_server, pyworker]

    async def _tell_of_model(self, words: str) -> None:
        trouble.note(self._settings.state_dir, words)
        await self._reports.tell(words)

    async def _replace_lost_launcher(self, launcher: int) -> None:
        """Once the process that started us is gone, keep one that launches anew when we are."""
        while os.getppid() == launcher:  # noqa: ASYNC110  nobody tells of a parent's end
            await asyncio.sleep(LAUNCHER_POLL_S)
        await ChildProcess(
            name="the launch script",
            command=("sh", "-c", LAUNCH_ONCE_GONE, "launch", str(os.getpid()), str(LAUNCH_SCRIPT)),
            env=self._env,
            report=self._reports.tell,
            outlives_us=True,
        ).keep_running()

    async def _ask_hub(self, path: str, token: str) -> HubAnswer | None:
        url = self._env.get("HF_ENDPOINT", DEFAULT_HUB).rstrip("/") + path
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with self._http.get(url, headers=headers, timeout=TIMEOUT) as answer:
                return HubAnswer(answer.status, answer.headers.get("X-Error-Code", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.warning("model access not checked", extra={"reason": type(error).__name__})
            return None

    async def keep_certificate(self, look_every_s: float = RENEW_LOOK_S) -> None:
        """Renew it before it ends, for ever; the PyWorker reads it again by itself.

        A signer that fails is an error of this worker only once no client accepts the old one.
        """
        settings, public_ip = self._settings, self._env["PUBLIC_IPADDR"]
        while True:
            await asyncio.sleep(look_every_s)
            try:
                await self._get_certificate()
            except (OSError, ValueError) as error:
                logger.warning("certificate not renewed", extra={"reason": str(error)})
                files, now = (settings.tls_cert, settings.tls_key), time.time()
                if not has_good_certificate(*files, public_ip, now, timedelta()):
                    words = f"the TLS certificate at {settings.tls_cert} has ended: {error}"
                    await self._reports.tell(words)

    async def _get_certificate(self) -> None:
        """Keep the certificate that is there or get a new one signed.

        Raises:
            CertificateError: the signer did not give a usable one.
            OSError: it cannot be stored.
        """
        settings, public_ip = self._settings, self._env["PUBLIC_IPADDR"]
        if has_good_certificate(settings.tls_cert, settings.tls_key, public_ip, time.time()):
            return
        key, request = make_request(public_ip)
        certificate = await self._sign_patiently(request)
        check_certificate(certificate, public_ip, time.time())
        store(settings.tls_cert, settings.tls_key, certificate, key)

    async def _sign_patiently(self, request: bytes) -> bytes:
        for attempt in range(1, SIGN_ATTEMPTS):
            try:
                return await self._sign(request)
            except (aiohttp.ClientError, TimeoutError) as error:
                logger.warning("certificate not signed", extra={"reason": type(error).__name__})
                await asyncio.sleep(2.0**attempt)
        try:
            return await self._sign(request)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
            raise CertificateError(f"the TLS certificate was not signed: {reason}") from error

    async def _sign(self, request: bytes) -> bytes:
        signer = self._env.get("SIGN_CERT_URL", DEFAULT_SIGNER)
        async with self._http.post(
            signer,
            params={"instance_id": str(self._settings.instance_id)},
            data=request,
            headers={"Content-Type": "application/octet-stream"},
            timeout=TIMEOUT,
        ) as answer:
            answer.raise_for_status()
            return await answer.read()


def model_command(back_end: BackEnd, env: Mapping[str, str]) -> list[str]:
    """The model server's words: MODEL_COMMAND, else the back end's; empty if the image starts it.

    `$NAME` in a word becomes the variable's value; a value never becomes several words.
    `$BALLAST_PYTHON` is the Python that runs the supervisor, with the bundle's code.
    """
    if "MODEL_COMMAND" in env:
        words = shlex.split(env["MODEL_COMMAND"])
    else:
        more = back_end.more_words(env) if back_end.more_words else ()
        words = [*back_end.model_command, *more]
    values = {"BALLAST_PYTHON": sys.executable, **env}
    return [Template(word).safe_substitute(values) for word in words]


def _without(env: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in names}


async def supervise(env: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        SettingsError: not even a report can be sent.
    """
    identity = ReporterIdentity.from_env(env)
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        if task:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        async with aiohttp.ClientSession() as http:
            reports = ErrorReports(identity, http)
            try:
                settings = WorkerSettings.from_env(env)
            except SettingsError as error:
                await reports.repeat(str(error))
            else:
                await Supervisor(settings, env, http, reports).run()


def main() -> int:
    """Supervise until signalled; 2 when not even a report can be sent."""
    set_up_logging("INFO")
    try:
        asyncio.run(supervise(os.environ))
    except SettingsError as error:
        print(f"supervisor: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
