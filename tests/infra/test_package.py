"""The slim package: complete, with bytecode that Python uses, the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from infra.package import is_wanted, slim


def make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("app.py", "VALUE = 41 + 1\n")
        archive.writestr("botocore/data/dynamodb/2012-08-10/service-2.json", "{}")
        archive.writestr("botocore/data/ec2/2016-11-15/service-2.json", "{}" * 100)
        archive.writestr("botocore/data/endpoints.json", "{}")


def test_unused_services_go_and_used_ones_stay() -> None:
    assert is_wanted("botocore/data/dynamodb/2012-08-10/service-2.json")
    assert is_wanted("botocore/data/endpoints.json")
    assert not is_wanted("botocore/data/ec2/2016-11-15/service-2.json")
    assert is_wanted("chalicelib/services/routing.py")
    assert not is_wanted("pynamodb/tests/test_model.py")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    make_zip(tmp_path / "in.zip")
    slim(tmp_path / "in.zip", tmp_path / "one.zip")
    slim(tmp_path / "in.zip", tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_python_imports_the_shipped_bytecode_without_the_source(tmp_path: Path) -> None:
    """If the bytecode did not match, an empty source would give an empty module."""
    make_zip(tmp_path / "in.zip")
    slim(tmp_path / "in.zip", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "code")
    (tmp_path / "code" / "app.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", "import app; print(app.VALUE)"],
        cwd=tmp_path / "code",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "42", done.stderr
