"""Starting ComfyUI where the image's entry point is not called: its files first, then it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.workers.world import serve
from workers.comfyui.start import StartError, command, fetch
from workers.comfyui.workflow import MODELS, ModelFile

FILE = ModelFile("acme/model", "sub/unet.safetensors", "diffusion_models")
PRINTS_ITSELF = "import os, sys; print('COMFY', sys.argv[1:], os.getcwd())"


async def test_a_file_is_fetched_once_and_with_the_token(tmp_path: Path) -> None:
    asked: list[str] = []

    async def hub(request: web.Request) -> web.Response:
        asked.append(f"{request.path} {request.headers.get('Authorization', '')}")
        return web.Response(body=b"weights")

    app = web.Application()
    app.router.add_get("/{path:.*}", hub)
    async with serve(app) as url:
        for _ in range(2):
            await asyncio.to_thread(fetch, FILE, tmp_path, url, "hf_x")
    assert asked == ["/acme/model/resolve/main/sub/unet.safetensors Bearer hf_x"]
    folder = tmp_path / "models" / "diffusion_models"
    assert [path.name for path in folder.iterdir()] == ["unet.safetensors"]


@pytest.mark.parametrize(("status", "words"), [(401, "HF_TOKEN"), (404, "is it published")])
async def test_a_file_that_is_not_given_is_named_with_the_fix(
    tmp_path: Path, status: int, words: str
) -> None:
    async def hub(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", hub)
    async with serve(app) as url:
        with pytest.raises(StartError, match=rf"acme/model/sub/unet.*{status}.*{words}"):
            await asyncio.to_thread(fetch, FILE, tmp_path, url, "")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 7000000000\r\n"


# urllib leaves the socket of a head that it cannot read to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("head", "part", "words"),
    [
        (HEAD + b"\r\n", b"x", "too slowly"),
        (HEAD, b"X-A: b\r\n", "too slowly|got more than 100 headers"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"x", "too slowly"),
        (HEAD + b"\r\nhalf", b"", "broke off after 4 of 7000000000 bytes"),
        (b"220 ready\r\n", b"", "220 ready"),
    ],
)
async def test_a_file_that_drips_or_breaks_off_is_not_waited_for_nor_taken_for_whole(
    tmp_path: Path, head: bytes, part: bytes, words: str
) -> None:
    is_over = asyncio.Event()

    async def hub(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while part and not is_over.is_set():
            writer.write(part)
            await asyncio.sleep(0.02)
        writer.close()

    async with await asyncio.start_server(hub, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(StartError, match=f"acme/model/sub/unet.*{words}"):
            await asyncio.to_thread(fetch, FILE, tmp_path, url, "", 0.1 if part else 60.0)
        is_over.set()
        await asyncio.sleep(0.1)
    assert not (tmp_path / "models" / FILE.folder / FILE.name).exists()


def test_a_missing_comfyui_and_a_missing_python_are_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="set COMFYUI_DIR"):
        command(tmp_path, {})
    (tmp_path / "main.py").write_text("")
    with pytest.raises(StartError, match="set COMFYUI_PYTHON"):
        command(tmp_path, {"COMFYUI_PYTHON": str(tmp_path / "no")})


async def test_it_becomes_comfyui_once_its_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(PRINTS_ITSELF)
    for file in MODELS["sdxl"].files:
        folder = tmp_path / "models" / file.folder
        folder.mkdir(parents=True)
        (folder / file.name).write_bytes(b"there already")
    env = {
        "COMFYUI_DIR": str(tmp_path),
        "COMFYUI_PYTHON": sys.executable,
        "COMFYUI_ARGS": "--lowvram",
        "COMFY_MODEL": "sdxl",
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody: nothing may be asked for
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers.comfyui.start"), env=env, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert "'--listen', '127.0.0.1', '--port', '18188'" in out.decode()
    assert "'--lowvram'" in out.decode()
    assert out.decode().rstrip().endswith(str(tmp_path))
