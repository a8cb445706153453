"""The worker bundle: what a rented instance runs, as one reproducible, content-addressed archive.

`python -m workers.bundle FOLDER` writes `SHA256.tar.gz` there and prints the digest. The same
sources give the same bytes on any machine, so that a template can pin them.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import secrets
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_CALLERS_ONLY = frozenset({"client.py", "test_load.py", "bundle.py"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """The archive's bytes and their SHA-256 in hex."""

    data: bytes
    sha256: str


def build_bundle(root: Path = ROOT) -> Bundle:
    """The archive of the sources under `root`: PyWorker, back ends, wire code, locked wheels."""
    buffer = io.BytesIO()
    # mtime 0 and no name: gzip's header must not tell when and where.
    with (
        gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in sorted(_members(root)):
            data = path.read_bytes()
            name = path.relative_to(root).as_posix()
            info = tarfile.TarInfo(name.removeprefix("workers/launch/"))
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    return Bundle(data, hashlib.sha256(data).hexdigest())


def _members(root: Path) -> Iterator[Path]:
    yield root / "chalicelib" / "__init__.py"
    yield from (root / "chalicelib" / "wire").glob("*.py")
    yield root / "workers" / "__init__.py"
    for name in ("requirements.lock", "start.sh", "tracing.lock"):
        yield root / "workers" / "launch" / name
    for path in (root / "workers").glob("*/**/*.py"):
        if path.name not in _CALLERS_ONLY:
            yield path


def write_bundle(folder: Path) -> Bundle:
    """Make the bundle the one archive of a folder, under its own hash."""
    bundle = build_bundle()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{bundle.sha256}.tar.gz"
    draft = path.with_suffix(f".{secrets.token_hex(8)}")  # others may write the same one now
    draft.write_bytes(bundle.data)
    draft.replace(path)
    for other in folder.glob("*.tar.gz"):
        if other != path:
            other.unlink(missing_ok=True)
    return bundle


def main(argv: list[str] | None = None) -> int:
    """Write the bundle and print its digest."""
    parser = argparse.ArgumentParser(description="Build the worker bundle.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    print(write_bundle(folder).sha256)
    return 0


if __name__ == "__main__":
    sys.exit(main())
