"""The search language of the vendor's CLI, parsed as the CLI parses it (protocol.md F.1).

`gpu_ram>=23 num_gpus=1 gpu_name in [RTX_4090,RTX_3090]` → `{"gpu_ram": {"gte": 23000.0}, …}`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from chalicelib.wire.json_body import WireError

MAX_QUERY_LENGTH = 4096
MAX_OPERAND_LENGTH = 200

Clauses = dict[str, dict[str, object]]


class SearchQueryError(WireError):
    """A search query cannot be understood; the message quotes the place."""


OPERATORS: Mapping[str, str] = {
    "=": "eq", "==": "eq", "eq": "eq",
    "!=": "neq", "neq": "neq", "noteq": "neq", "not eq": "neq",
    ">": "gt", "gt": "gt", ">=": "gte", "gte": "gte",
    "<": "lt", "lt": "lt", "<=": "lte", "lte": "lte",
    "in": "in", "notin": "notin", "nin": "notin", "not in": "notin",
}  # fmt: skip
_NAMES = frozenset(OPERATORS.values())

ALIASES: Mapping[str, str] = {
    "cuda_vers": "cuda_max_good",
    "display_active": "gpu_display_active",
    "dph": "dph_total",
    "dlperf_usd": "dlperf_per_dphtotal",
    "flops_usd": "flops_per_dphtotal",
}

MULTIPLIERS: Mapping[str, float] = {
    "gpu_ram": 1000.0,  # Vast counts MB, people GB; 1000, not 1024
    "cpu_ram": 1000.0,
    "gpu_total_ram": 1000.0,
    "duration": 86_400.0,  # Vast counts seconds, people days
}

ADDED_BY_CLI = "verified=True rentable=True rented=False"
"""What the vendor's CLI appends to every query, also to that of an update without one."""

FIELDS = frozenset(
    {
        # What the vendor's CLI lists for `search offers`.
        "bw_nvlink", "cluster_id", "compute_cap", "cpu_arch", "cpu_cores", "cpu_cores_effective",
        "cpu_ghz", "cpu_ram", "cuda_max_good", "datacenter", "direct_port_count", "disk_bw",
        "disk_space", "dlperf", "dlperf_per_dphtotal", "dph_total", "driver_version", "duration",
        "external", "flops_per_dphtotal", "geolocation", "gpu_arch", "gpu_display_active",
        "gpu_frac", "gpu_max_power", "gpu_max_temp", "gpu_mem_bw", "gpu_name", "gpu_ram",
        "gpu_total_ram", "has_avx", "host_id", "id", "inet_down", "inet_down_cost", "inet_up",
        "inet_up_cost", "machine_id", "min_bid", "mobo_name", "num_gpus", "pci_gen", "pcie_bw",
        "reliability", "rentable", "rented", "static_ip", "storage_cost", "total_flops",
        "ubuntu_version", "verification", "verified", "vms_enabled",
        # What offers carry beyond that (protocol.md F.1).
        "ask_contract_id", "cpu_name", "disk_name", "dph_base", "gpu_lanes", "hosting_type",
        "os_version", "reliability2", "score",
    }
)  # fmt: skip
"""Fields of offers; Vast would answer a search by another one with no offer at all."""

_CLAUSE = re.compile(
    r"""\s*(?P<field>[A-Za-z0-9_]+)
        (?:\s*(?P<symbol>==|!=|>=|<=|=|>|<)\s*
          |\s+(?P<word>not\s+eq|not\s+in|notin|noteq|nin|neq|eq|gte|lte|gt|lt|in)\s+)
        (?P<value>\[[^\]]*\]|"[^"]*"|[^\s"\[\]]\S*)""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?|-?\.[0-9]{1,12}")
_LITERALS: Mapping[str, object] = {
    "True": True, "true": True, "False": False, "false": False, "None": None, "null": None,
}  # fmt: skip
_WILDCARDS = frozenset({"any", "?", "*"})


def parse_search_query(value: object) -> Clauses:
    """The query as Vast's API takes it; an empty one for None, "" and [].

    Text and lists of clauses are parsed; an object is taken as parsed already, once checked.

    Raises:
        SearchQueryError: the first thing that cannot be understood.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return _checked(value)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise SearchQueryError(f"search_params: {str(value)[:80]!r} is no text, list or object")
    if len(value) > MAX_QUERY_LENGTH:
        raise SearchQueryError(f"search_params: longer than {MAX_QUERY_LENGTH} characters")
    return _parse_text(value)


def _parse_text(text: str) -> Clauses:
    query: Clauses = {}
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _CLAUSE.match(text, position)
        if match is None:
            raise SearchQueryError(
                f"search_params: cannot read {text[position:].strip()[:80]!r}; "
                "write clauses like gpu_ram>=23, num_gpus=1, gpu_name in [RTX_4090,RTX_3090]"
            )
        operator = OPERATORS[" ".join((match["symbol"] or match["word"]).split())]
        _add_clause(query, match["field"], operator, match["value"])
        position = match.end()
    return query


def _add_clause(query: Clauses, written_field: str, operator: str, written: str) -> None:
    field = _known(ALIASES.get(written_field, written_field))
    text = written.strip(",[]").strip('"')
    if not text:
        raise SearchQueryError(f"search_params: {written_field} has an empty value")
    if text in _WILDCARDS:
        if operator != "eq":
            raise SearchQueryError(f"search_params: {written_field}: {text!r} only goes with =")
        query.pop(field, None)
        return
    if operator in ("in", "notin"):
        parts = [part.strip().strip('"') for part in text.split(",")]
        operand: object = [_operand(field, part) for part in parts if part]
    else:
        operand = _operand(field, text)
    query.setdefault(field, {})[operator] = operand


def _known(field: str) -> str:
    if field in FIELDS:
        return field
    near = difflib.get_close_matches(field, [*FIELDS, *ALIASES], n=1)
    advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(FIELDS))}"
    raise SearchQueryError(f"search_params: {field[:40]!r} is no field of an offer; {advice}")


def _operand(field: str, text: str) -> object:
    if field == "driver_version" and "." in text:
        return _driver_version(text)
    if field in MULTIPLIERS:
        if not _NUMBER.fullmatch(text):
            raise SearchQueryError(f"search_params: {field}: {text[:40]!r} is not a number")
        return float(text) * MULTIPLIERS[field]
    plain = text.replace("_", " ")
    return _LITERALS.get(plain, plain)


def _driver_version(text: str) -> int:
    """535.86.05 → 535086005: every part takes three digits."""
    parts = text.split(".")
    if not all(part.isascii() and part.isdecimal() and len(part) <= 3 for part in parts):
        raise SearchQueryError(f"search_params: driver_version: {text!r}; write it as 535.86.05")
    return int("".join(part.zfill(3) for part in parts))


def _checked(query: Mapping[str, object]) -> Clauses:
    """An object in Vast's form: {"field": {"operator": operand}}."""
    checked: Clauses = {}
    for field, clauses in query.items():
        if not isinstance(clauses, Mapping) or not clauses:
            raise SearchQueryError(f'search_params: {field}: write {{"eq": value}} or the like')
        unknown = sorted(set(map(str, clauses)) - _NAMES)
        if unknown:
            raise SearchQueryError(
                f"search_params: {field}: unknown operator {unknown[0]!r}; "
                f"allowed: {', '.join(sorted(_NAMES))}"
            )
        for operator, operand in clauses.items():
            _check_operand(field, operator, operand)
        checked[_known(field)] = dict(clauses)
    return checked


def _check_operand(field: str, operator: str, operand: object) -> None:
    """Plain values, numbers where an order is asked for, and lists for `in` alone."""
    is_list = operator in ("in", "notin")
    values = operand if is_list and isinstance(operand, list) else [operand]
    for value in values:
        is_text = isinstance(value, str) and len(value) <= MAX_OPERAND_LENGTH
        if not is_text and not isinstance(value, int | float | None):
            raise SearchQueryError(f"search_params: {field}: {str(value)[:40]!r} is no plain value")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_number = is_number or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
        if operator in ("gt", "gte", "lt", "lte") and not is_number:
            raise SearchQueryError(f"search_params: {field}: {str(value)[:40]!r} is not a number")
