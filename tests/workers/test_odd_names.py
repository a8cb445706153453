"""Model servers whose list of models is odd, or that have a health route and no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chalicelib.wire.model_answers import SERVED_MODELS
from tests.workers.test_misbehaving import QUICK
from tests.workers.test_odd_answers import CHAT, OddServer, body, good, odd, status
from tests.workers.world import loading, serve
from workers.openai.server import BACK_END


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["a/b:q4", "my model", "C:\\models\\x.gguf", "../x"],
            "a/b:q4,my model,C:\\models\\x.gguf,../x",
        ),
        (["модель", "a,b", "a\r\nSet-Cookie: b=1", "tiny", "y" * 301, ""], "tiny"),
        (["модель"], None),
        (["x" * 300] * 100, ",".join(["x" * 300] * 6)),
        ([None, {"a": 1}], None),
    ],
)
async def test_odd_names_of_models_break_no_answer(
    tmp_path: Path, names: list[object], told: str | None
) -> None:
    """A hundred long ones made a head that no client reads."""
    models = json.dumps({"data": [{"id": name} for name in names]}).encode()
    async with odd(tmp_path, body(models)) as (it, _):
        request = {"auth_data": it.ticket(), "payload": {"messages": []}}
        async with it.http.post(it.worker.settings.url + CHAT, json=request) as got:
            assert (got.status, got.headers.get(SERVED_MODELS)) == (200, told)


async def test_a_server_that_is_healthy_and_has_no_route_is_not_ready(tmp_path: Path) -> None:
    server = OddServer()
    server.answer = status(404)
    async with (
        serve(server.application()) as url,
        loading(tmp_path, BACK_END, patience=QUICK, MODEL_SERVER_URL=url) as it,
    ):
        await it.until(lambda: "404" in str(it.counters().get("error_msg")), "told")
        assert it.counters()["max_perf"] == 0
        server.answer = good
        await it.until(it.is_ready, "ready once it has")
