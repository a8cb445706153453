"""The deployment package, made faster to start: bytecode shipped, botocore trimmed, reproducible.

Chalice's zip carries no bytecode (it stamps every file 1980, so plain .pyc would not match) and all
400 service models of botocore, packed and with their manuals. Measured by
`python -m lab.bench coldstart`: docs/internals/performance.md.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import marshal
import sys
import zipfile
from pathlib import Path
from typing import Any

KEPT_SERVICES = frozenset(
    {"dynamodb", "kms", "lambda", "secretsmanager", "sns", "sts", "sso", "sso-oidc", "signin"}
)
"""What the functions call, and what botocore's credential chain loads."""

UNUSED_PACKAGES = frozenset(
    {
        "_distutils_hack",
        "_yaml",
        "blessed",
        "click",
        "editor",
        "inquirer",
        "jinxed",
        "pip",
        "pkg_resources",
        "pycparser",
        "readchar",
        "runs",
        "setuptools",
        "wcwidth",
        "wheel",
        "xmod",
        "yaml",
    }
)
"""What only Chalice's command line needs."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: hash-based, never checked


SHIPPED_SUFFIXES = frozenset({".py", ".js", ".css", ".html", ".txt", ".gz", ".pyc"})
"""Chalice ships every file under chalicelib, whatever it is: only these belong there."""


def stray_files(root: Path) -> list[str]:
    """Files that would be shipped and are no code: an owner's `.env`, a key, a note."""
    files = (path for path in (root / "chalicelib").rglob("*") if path.is_file())
    return sorted(
        path.relative_to(root).as_posix()
        for path in files
        if path.suffix not in SHIPPED_SUFFIXES or path.name.startswith(".")
    )


def is_wanted(name: str) -> bool:
    """Whether a file of the package is needed at run time."""
    parts = Path(name).parts
    if parts[0] in UNUSED_PACKAGES:
        return False
    if parts[:2] == ("botocore", "data") and len(parts) > 3:
        return parts[2] in KEPT_SERVICES and not parts[-1].startswith("examples-")
    if parts[:2] == ("boto3", "data") or parts[:2] == ("boto3", "examples"):
        return False
    return "__pycache__" not in parts and "tests" not in parts[:-1]


def trimmed(name: str, body: bytes) -> tuple[str, bytes]:
    """(name, body) as shipped: botocore's models unpacked and without their manuals.

    Botocore looks for `X.json` before `X.json.gz`, and parses what it finds at each start.
    """
    parts = Path(name).parts
    if parts[:2] != ("botocore", "data"):
        return name, body
    if parts[-1] == "endpoints.json":
        return name, _compact(_of_kept_services(json.loads(body)))
    if not name.endswith(".json.gz"):
        return name, body
    return name.removesuffix(".gz"), _compact(_without_manual(json.loads(gzip.decompress(body))))


def _of_kept_services(endpoints: dict[str, Any]) -> dict[str, Any]:
    """All partitions and regions, and of the services those that are kept."""
    for partition in endpoints.get("partitions", ()):
        services = partition["services"]
        partition["services"] = {name: services[name] for name in services if name in KEPT_SERVICES}
    return endpoints


def _without_manual(model: Any) -> Any:
    """The model without the texts that say what a shape or an operation is for."""
    if isinstance(model, list):
        return [_without_manual(part) for part in model]
    if not isinstance(model, dict):
        return model
    return {
        name: _without_manual(part)
        for name, part in model.items()
        if not (name == "documentation" and isinstance(part, str))
    }


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def bytecode(source: bytes, name: str) -> bytes:
    """A .pyc of the running Python version that is used without looking at the source's time."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + digest + marshal.dumps(code)


def slim(source: Path, target: Path) -> None:
    """Rewrite Chalice's zip: needed files only, modules with bytecode, the same bytes each time.

    Raises:
        zipfile.BadZipFile: `source` is not a zip.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for found in sorted(filter(is_wanted, old.namelist())):
            if found.endswith("/"):
                continue
            name, body = trimmed(found, old.read(found))
            _add(new, name, body)
            if name.endswith(".py"):
                path = Path(name)
                cached = (
                    path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
                )
                _add(new, str(cached), bytecode(body, name))


def _add(archive: zipfile.ZipFile, name: str, body: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, body)


def main() -> None:
    """Slim one zip."""
    parser = argparse.ArgumentParser(prog="python -m infra.package", description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    slim(arguments.source, arguments.target)
    before, after = arguments.source.stat().st_size, arguments.target.stat().st_size
    print(f"{arguments.target}: {after / 1e6:.1f} MB instead of {before / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
