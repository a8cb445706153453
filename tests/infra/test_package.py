"""The slim package: complete, with bytecode that Python uses, the same bytes each time."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import botocore.session

from infra.package import KEPT_SERVICES, is_wanted, slim, trimmed


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
    assert is_wanted("chalicelib/services/routing/route.py")
    assert not is_wanted("pynamodb/tests/test_model.py")


def test_a_model_is_shipped_unpacked_without_its_manual() -> None:
    model = {
        "operations": {"Get": {"documentation": "<p>Gets.</p>", "input": {"shape": "In"}}},
        "shapes": {"In": {"members": {"documentation": {"shape": "S", "documentation": "Text"}}}},
    }
    packed = gzip.compress(json.dumps(model).encode())
    name, body = trimmed("botocore/data/kms/2014-11-01/service-2.json.gz", packed)
    assert name == "botocore/data/kms/2014-11-01/service-2.json"
    assert json.loads(body) == {
        "operations": {"Get": {"input": {"shape": "In"}}},
        "shapes": {"In": {"members": {"documentation": {"shape": "S"}}}},
    }


ADDRESSES = """
import sys, botocore.session
names, regions = sys.argv[1].split(","), sys.argv[2:]
print(botocore.__file__)
for region in regions:
    session = botocore.session.get_session()
    print([session.create_client(name, region_name=region).meta.endpoint_url for name in names])
"""
REGIONS = ("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1")


def test_the_trimmed_botocore_calls_the_same_addresses(tmp_path: Path) -> None:
    whole = Path(botocore.__file__).parent
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in whole.rglob("*"):
            name = path.relative_to(whole.parent).as_posix()
            if path.is_file() and is_wanted(name):
                archive.write(path, name)
    slim(tmp_path / "in.zip", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "code")
    answers = []
    for folder in (str(tmp_path / "code"), str(whole.parent)):
        done = subprocess.run(
            [sys.executable, "-c", ADDRESSES, ",".join(sorted(KEPT_SERVICES)), *REGIONS],
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=True,
        )
        module, _, addresses = done.stdout.partition("\n")
        assert module.startswith(folder)
        answers.append(addresses)
    assert answers[0] == answers[1]
    assert "kms.cn-north-1.amazonaws.com.cn" in answers[0]


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
