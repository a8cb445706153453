"""A certificate, a port or a disk not as it should be: told in words; once mended, it serves."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from fakes.certificate_authority import CertificateAuthority
from fakes.control_plane_server import ControlPlaneServer
from tests.workers.test_child_process import Kept
from tests.workers.test_supervisor import supervised
from tests.workers.world import environment, free_port, loading, serve, until
from workers.pyworker.reporting.error_reports import ErrorReports
from workers.pyworker.settings import WorkerSettings
from workers.pyworker.supervision.certificate import has_good_certificate, make_request, store
from workers.pyworker.supervision.supervisor import Supervisor

ADDRESS = "127.0.0.1"


async def test_a_port_that_another_process_holds_is_told_and_then_served_on(
    tmp_path: Path,
) -> None:
    """It was "PyWorker ended 3 times (exit code 1)", again and again."""
    with socket.socket() as other:
        other.bind((ADDRESS, 0))
        other.listen()
        port = str(other.getsockname()[1])
        names: dict[str, Any] = {"WORKER_PORT": port, f"VAST_TCP_PORT_{port}": port}
        async with loading(tmp_path, **names) as it:
            await it.until(lambda: it.control_plane.reports, "a report")
            assert f"the PyWorker cannot listen at port {port}" in told(it.control_plane.reports)
            assert "address already in use" in told(it.control_plane.reports)
            other.close()
            it.model.is_healthy = True
            await it.until(it.is_ready, "it is ready")


async def test_files_of_tls_that_do_not_fit_are_told_and_then_served_with(tmp_path: Path) -> None:
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    authority = CertificateAuthority()
    private, request = make_request(ADDRESS)
    store(cert, key, authority.sign(request), make_request(ADDRESS)[0])
    async with loading(tmp_path, USE_SSL="true", TLS_CERT=str(cert), TLS_KEY=str(key)) as it:
        await it.until(lambda: it.control_plane.reports, "a report")
        words = told(it.control_plane.reports)
        assert words.startswith(f"no TLS with {cert} and {key}: "), words
        assert "KEY_VALUES_MISMATCH" in words
        key.write_bytes(private)
        it.model.is_healthy = True
        await it.until(it.is_ready, "it is ready")
        pinned = aiohttp.Fingerprint(bytes.fromhex(str(it.counters()["certificate_sha256"])))
        async with it.http.get(f"{it.worker.settings.url}/ping", ssl=pinned) as answer:
            assert await answer.text() == "pong"
        # Renewed while it serves: new connections get it, and clients that pin hear of it.
        private, request = make_request(ADDRESS)
        store(cert, key, authority.sign(request), private)
        renewed = ssl.PEM_cert_to_DER_cert(cert.read_text())
        fingerprint = hashlib.sha256(renewed).hexdigest()
        await it.until(lambda: it.counters()["certificate_sha256"] == fingerprint, "it is told")
        shown = await asyncio.to_thread(
            ssl.get_server_certificate, (ADDRESS, it.worker.settings.port)
        )
        assert ssl.PEM_cert_to_DER_cert(shown) == renewed
        assert it.is_ready()


async def test_a_certificate_is_renewed_before_it_ends_and_told_only_once_it_has(
    tmp_path: Path,
) -> None:
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    authority, control_plane = CertificateAuthority(), ControlPlaneServer()
    authority.ends = datetime.now(UTC) + timedelta(days=1)
    private, request = make_request(ADDRESS)
    store(cert, key, soon := authority.sign(request), private)
    async with (
        serve(control_plane.application()) as url,
        serve(authority.application()) as signer,
        aiohttp.ClientSession() as http,
    ):
        env = environment(url, url, tmp_path) | {
            "USE_SSL": "true", "TLS_CERT": str(cert), "TLS_KEY": str(key),
            "SIGN_CERT_URL": signer + "/sign_cert/",
        }  # fmt: skip
        settings = WorkerSettings.from_env(env)
        supervisor = Supervisor(settings, env, http, ErrorReports(settings.reporter, http))
        keeping = asyncio.create_task(supervisor.keep_certificate(0.01))
        await until(lambda: len(authority.instance_ids) > 2, "asked again and again")
        assert (cert.read_bytes(), control_plane.reports) == (soon, [])  # it serves another day
        ends, authority.ends = authority.ends, datetime.now(UTC)
        store(cert, key, authority.sign(request), private)
        authority.ends = ends
        await until(lambda: control_plane.reports, "it is told")
        assert told(control_plane.reports).startswith(f"the TLS certificate at {cert} has ended: ")
        authority.ends = datetime.now(UTC) + timedelta(days=90)
        await until(lambda: has_good_certificate(cert, key, ADDRESS, time.time()), "it is renewed")
        keeping.cancel()


async def test_a_certificate_that_cannot_be_kept_is_told_and_asked_for_again(
    tmp_path: Path,
) -> None:
    """The supervisor ended, and was started again each second."""
    (folder := tmp_path / "tls").write_text("a file in the folder's place")
    cert, key = folder / "instance.crt", folder / "instance.key"
    env = {"USE_SSL": "true", "TLS_CERT": str(cert), "TLS_KEY": str(key)}
    authority = CertificateAuthority()
    async with (
        serve(authority.application()) as signer,
        supervised(tmp_path, SIGN_CERT_URL=signer + "/sign_cert/", **env) as it,
    ):
        while not it.control_plane.reports:
            await asyncio.sleep(0.05)
        assert told(it.control_plane.reports).startswith(f"no TLS certificate at {cert}: ")
        assert it.process.returncode is None
        folder.unlink()
        while not it.control_plane.last_report.get("certificate_sha256"):
            await asyncio.sleep(0.05)
    assert has_good_certificate(cert, key, ADDRESS, time.time())


async def test_a_server_that_cannot_write_its_log_ends_with_the_disk_named() -> None:
    """Of a full disk its log can say nothing. `/proc` has no bytes left, ever."""
    assert os.statvfs("/proc").f_bavail == 0
    kept = Kept("exit 120", Path(f"/proc/{free_port()}.log"))
    await kept.while_running(lambda: kept.told, "it is told")
    assert kept.told[0].endswith("(exit code 120); the disk of /proc is full")


def told(reports: list[dict[str, object]]) -> str:
    """The words of the first report."""
    return str(reports[0]["error_msg"])
