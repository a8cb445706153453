"""What a template's docker flags set is read as docker reads them: the worker gets just that."""

from __future__ import annotations

import pytest

from chalicelib.wire.worker_env import docker_variables, reads_as_true


@pytest.mark.parametrize(
    ("flags", "is_tls"),
    [
        ("-e USE_SSL=true -p 3000:3000", True),
        ("-eUSE_SSL=true", True),
        ("--env USE_SSL=true", True),
        ("--env=USE_SSL=true", True),
        ("-e 'USE_SSL=true'", True),
        ('-e "USE_SSL"="true"', True),
        ("-p 3000:3000\n-e\tUSE_SSL=true", True),
        ("-e USE_SSL=true -e USE_SSL=false", False),  # the last one wins
        ("-e USE_SSL=false -e USE_SSL=true", True),
        ("-e 'NOTE=set USE_SSL=true for TLS'", False),  # a part of another's value
        ("-e NOTE='USE_SSL=false ' -e USE_SSL=true", True),
        ("-e USE_SSL=true-ish", False),
        ("-e USE_SSL=True", False),
        ("-e USE_SSL= -e OTHER=true", False),
        ("-e MY_USE_SSL=true", False),
        ("-e USE_SSL=true -e NOTE=it's", True),  # quotes that do not match
        ("-e USE_SSL -h host", False),
        ("", False),
    ],
)
def test_whether_a_worker_serves_tls_is_read_as_docker_reads_its_flags(
    flags: str, is_tls: bool
) -> None:
    assert reads_as_true(docker_variables(flags).get("USE_SSL", "")) is is_tls
