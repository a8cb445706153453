"""Single ways in which a marketplace may drift, by the call whose answers change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.drift.drifting_world import (
    Answer,
    Json,
    acts_but_answers,
    answers,
    each,
    edits,
    no_answer,
)

HTML = "<!doctype html><html><body>We will be back soon</body></html>"


def put(name: str, value: object) -> Callable[[Json], object]:
    """A member gets this value."""
    return lambda row: row.__setitem__(name, value)


def drop(name: str) -> Callable[[Json], object]:
    """A member goes."""
    return lambda row: row.pop(name, None)


def rename(name: str, new: str) -> Callable[[Json], object]:
    """A member has another name."""
    return lambda row: row.__setitem__(new, row.pop(name, None))


def text(name: str) -> Callable[[Json], object]:
    """A number comes as text."""
    return lambda row: row.__setitem__(name, str(row.get(name)))


def scale(name: str, factor: float) -> Callable[[Json], object]:
    """A number comes in another unit."""

    def change(row: Json) -> None:
        value = row.get(name)
        if isinstance(value, int | float):
            row[name] = value * factor

    return change


def repeat_rows(body: Json) -> None:
    """The first row comes twice."""
    body["instances"] = [*body["instances"][:1], *body["instances"]]


def nothing_listed(body: Json) -> None:
    """An empty account, in good form."""
    body.update(instances=[], total_instances=0, instances_found=0, next_token=None)


def first_only(body: Json) -> None:
    """All but one row is missing, and the total agrees."""
    body["instances"] = body["instances"][:1]
    body["total_instances"] = body["instances_found"] = len(body["instances"])


def same_id(body: Json) -> None:
    """All rows carry one id."""
    for row in body["instances"]:
        row["id"] = 7


def swap_labels(body: Json) -> None:
    """Labels belong to other rows."""
    rows = body["instances"]
    labels = [row["label"] for row in rows]
    for row, label in zip(rows, labels[1:] + labels[:1], strict=True):
        row["label"] = label


def our_label_everywhere(body: Json) -> None:
    """Every row, also a stranger's, carries a label of ours."""
    ours = [row["label"] for row in body["instances"] if " - " in str(row["label"])]
    for row in body["instances"]:
        row["label"] = ours[0] if ours else row["label"]


LIST: dict[str, Answer] = {
    "a web page": answers(200, HTML),
    "a web page, 404": answers(404, HTML),
    "null": answers(200, "null"),
    "a bare list": answers(200, []),
    "an empty body": answers(200, ""),
    "success false": answers(200, {"success": False, "msg": "try later"}),
    "gone for good": answers(410, {"success": False, "error": "deprecated_endpoint"}),
    "moved": answers(301, ""),
    "busy for ever": answers(429, ""),
    "no answer": no_answer,
    "rows under another name": edits(rename("instances", "data")),
    "rows null": edits(put("instances", None)),
    "rows as an object by id": edits(lambda b: put("instances", {"1": {}})(b)),
    "no total": edits(lambda b: (b.pop("total_instances"), b.pop("instances_found"), None)[-1]),
    "total as text": edits(text("total_instances")),
    "total too small": edits(put("total_instances", 0)),
    "a token for ever": edits(put("next_token", "again")),
    "a row twice": edits(repeat_rows),
    "nothing listed": edits(nothing_listed),
    "one row, total agrees": edits(first_only),
    "one id for all": edits(same_id),
    "ids as text": each("instances", text("id")),
    "ids null": each("instances", put("id", None)),
    "ids negative": each("instances", scale("id", -1)),
    "ids as fractions": each("instances", scale("id", 1.0)),
    "ids shifted": each("instances", lambda row: put("id", row["id"] + 1_000_000)(row)),
    "labels null": each("instances", put("label", None)),
    "labels cut to 8": each("instances", lambda row: put("label", str(row["label"])[:8])(row)),
    "labels in capitals": each(
        "instances", lambda row: put("label", str(row["label"]).upper())(row)
    ),
    "labels of others": edits(swap_labels),
    "our label everywhere": edits(our_label_everywhere),
    "label as an object": each("instances", put("label", {"text": "x"})),
    "a new word for running": each("instances", put("actual_status", "active")),
    "states in capitals": each(
        "instances", lambda row: put("actual_status", str(row["actual_status"]).upper())(row)
    ),
    "states null": each("instances", put("actual_status", None)),
    "states as numbers": each("instances", put("actual_status", 3)),
    "everything says destroyed": each("instances", put("actual_status", "destroyed")),
    "everything says offline": each("instances", put("actual_status", "offline")),
    "intended null": each("instances", put("intended_status", None)),
    "cur_state gone": each("instances", drop("cur_state")),
    "ports null": each("instances", put("ports", None)),
    "ports as a list": each("instances", put("ports", [3000])),
    "ports as a map of numbers": each("instances", put("ports", {"3000/tcp": 40_000})),
    "address null": each("instances", put("public_ipaddr", None)),
    "address private": each("instances", put("public_ipaddr", "192.168.1.20")),
    "address under another name": each("instances", rename("public_ipaddr", "public_ip")),
    "prices as text": each("instances", text("dph_total")),
    "prices null": each("instances", put("dph_total", None)),
    "prices negative": each("instances", scale("dph_total", -1)),
    "prices in cents": each("instances", scale("dph_total", 100)),
    "storage null": each("instances", put("storage_total_cost", None)),
    "traffic negative": each("instances", put("inet_up_cost", -1)),
    "ends yesterday": each("instances", put("end_date", 1_000_000_000.0)),
    "ends in milliseconds": each("instances", scale("end_date", 1000)),
    "ends as text": each("instances", text("end_date")),
    "machine ids gone": each("instances", drop("machine_id")),
    "GPU counts null": each("instances", put("num_gpus", None)),
}

SEARCH: dict[str, Answer] = {
    "a web page": answers(200, HTML),
    "success false": answers(200, {"success": False, "error": "x"}),
    "refused": answers(403, {"error": "not_authorized"}),
    "gone for good": answers(410, {"success": False, "error": "deprecated_endpoint"}),
    "no offers": answers(200, {"offers": []}),
    "rows under another name": edits(rename("offers", "bundles")),
    "rows null": edits(put("offers", None)),
    "ids as text": each("offers", text("id")),
    "one id for all": each("offers", put("id", 5)),
    "ids negative": each("offers", scale("id", -1)),
    "prices as text": each("offers", text("dph_total")),
    "prices null": each("offers", put("dph_total", None)),
    "prices negative": each("offers", scale("dph_total", -1)),
    "prices zero": each("offers", put("dph_total", 0)),
    "prices in cents": each("offers", scale("dph_total", 100)),
    "prices of a hundredth": each("offers", scale("dph_total", 0.01)),
    "storage price negative": each("offers", put("storage_cost", -1)),
    "traffic price as text": each("offers", put("inet_down_cost", "free")),
    "GPU names other": each("offers", put("gpu_name", "GTX 1080")),
    "GPU counts other": each("offers", put("num_gpus", 8)),
    "GPU memory in GB": each("offers", scale("gpu_ram", 0.001)),
    "unverified": each("offers", lambda row: row.update(verification="unverified", verified=False)),
    "not rentable": each("offers", put("rentable", False)),
    "interruptible": each("offers", put("is_bid", True)),
    "no disk": each("offers", put("disk_space", 1)),
    "no ports": each("offers", put("direct_port_count", 0)),
    "ends yesterday": each("offers", lambda row: row.update(end_date=1e9, duration=0)),
    "ends in milliseconds": each("offers", scale("end_date", 1000)),
    "reliability in percent": each("offers", scale("reliability2", 100)),
    "machine ids null": each("offers", put("machine_id", None)),
    "the same offer 64 times": edits(lambda b: put("offers", b["offers"][:1] * 64)(b)),
}

CREATE: dict[str, Answer] = {
    "a web page": answers(502, HTML),
    "a web page, 200": answers(200, HTML),
    "rents, a web page": acts_but_answers(200, HTML),
    "rents, 500": acts_but_answers(500, "Internal Server Error"),
    "rents, 404": acts_but_answers(404, HTML),
    "rents, empty": acts_but_answers(200, ""),
    "rents, no answer": no_answer,
    "rents, contract as text": edits(text("new_contract")),
    "rents, contract under another name": edits(rename("new_contract", "contract_id")),
    "rents, success false": edits(put("success", False)),
    "rents, success false without contract": edits(
        lambda _body: {"success": False, "error": "internal", "msg": "unknown"}
    ),
    "rents, another's contract": edits(put("new_contract", 20_000_001)),
    "rents, contract zero": edits(put("new_contract", 0)),
    "refused with a new code": answers(400, {"success": False, "error": "quota_of_gpus"}),
    "refused with a new code, 200": answers(200, {"success": False, "error": "quota_of_gpus"}),
    "forbidden": answers(403, "Forbidden"),
    "payment required": answers(402, {"success": False, "error": "insufficient_credit"}),
    "busy for ever": answers(429, ""),
    "conflict": answers(409, {"success": False, "error": "conflict", "msg": "already rented"}),
}

SHOW: dict[str, Answer] = {
    "a web page": answers(404, HTML),
    "gone for good": answers(410, {"error": "deprecated_endpoint"}),
    "null": edits(put("instances", None)),
    "a list": edits(lambda b: put("instances", [b["instances"]])(b)),
    "another machine": each("instances", put("id", 7)),
}

DESTROY: dict[str, Answer] = {
    "done, a web page": acts_but_answers(200, HTML),
    "done, 404": acts_but_answers(404, {"error": "no_such_instance"}),
    "done, 500": acts_but_answers(500, ""),
    "accepted, not done": answers(200, {"success": True}),
    "refused": answers(403, {"success": False, "error": "locked"}),
    "404, not done": answers(404, HTML),
    "success false": answers(200, {"success": False, "error": "internal"}),
}

STATE: dict[str, Answer] = {
    "done, a web page": acts_but_answers(200, HTML),
    "accepted, not done": answers(200, {"success": True}),
    "refused with a new code": answers(400, {"success": False, "error": "host_maintenance"}),
    "success as text": answers(200, {"success": "false", "msg": "no"}),
}

TEMPLATE: dict[str, Answer] = {
    "a web page": answers(200, HTML),
    "not found": answers(404, HTML),
    "forbidden": answers(403, {"error": "not_authorized"}),
    "rows as an object": edits(lambda b: put("templates", {"0": b["templates"][0]})(b)),
    "id as text": each("templates", text("id")),
    "filters of plain values": each("templates", put("extra_filters", '{"verified": true}')),
    "filters as query text": each("templates", put("extra_filters", "verified=true")),
    "environment as an object": each("templates", put("env", {"A": "1", "-p 3000:3000": "1"})),
    "environment null": each("templates", put("env", None)),
    "disk as text": each("templates", put("recommended_disk_space", "50 GB")),
    "another hash": each("templates", put("hash_id", "0" * 32)),
}

DRIFTS: dict[str, dict[str, Answer]] = {
    "list": LIST, "search": SEARCH, "create": CREATE, "show": SHOW, "destroy": DESTROY,
    "state": STATE, "template": TEMPLATE,
}  # fmt: skip


def all_drifts() -> list[Any]:
    """(call, name) of every one."""
    return [(call, name) for call, named in DRIFTS.items() for name in named]
