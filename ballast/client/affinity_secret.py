"""The secret under which keys of affinity are made: BALLAST_AFFINITY_KEY, else one of this user.

It is never made from an API key: the control plane knows those, and could then try out prompts.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "BALLAST_AFFINITY_KEY"
MIN_CHARACTERS = 16
N_BYTES = 32
API_KEYS_BEGIN = "blk."


def affinity_secret(environment: Mapping[str, str] | None = None) -> bytes:
    """The variable's value, else what the user's file holds, which is made at the first call.

    Where no file can be kept, the secret is this process's own: its conversations still find their
    worker, those of the next process begin anew.

    Raises:
        ValueError: the variable's value can be guessed, or is an API key.
    """
    env = os.environ if environment is None else environment
    given = env.get(VARIABLE, "").strip()
    if given.startswith(API_KEYS_BEGIN):
        raise ValueError(
            f"{VARIABLE} is an API key, which the control plane knows: with it prompts could be "
            "tried out there. Make a secret of its own: openssl rand -hex 32"
        )
    if given:
        if len(given) < MIN_CHARACTERS:
            raise ValueError(
                f"{VARIABLE} has {len(given)} characters and can be guessed; at least "
                f"{MIN_CHARACTERS}, such as those of: openssl rand -hex 32"
            )
        return given.encode()
    try:
        return _kept(secret_path(env))
    except OSError:
        return secrets.token_bytes(N_BYTES)


def secret_path(environment: Mapping[str, str]) -> Path:
    """`ballast/affinity.key` in the user's configuration directory."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "ballast" / "affinity.key"


def _kept(path: Path) -> bytes:
    """The file's secret. Of processes that make it at the same time one wins, and all read that."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        # Others may have read it: what they know must not be used on.
        path.unlink()
        _make(path)
    kept = path.read_bytes()
    if len(kept) < N_BYTES:
        path.unlink()
        _make(path)
        kept = path.read_bytes()
    return kept


def _make(path: Path) -> None:
    """Whole or not at all, and readable by nobody else from the beginning."""
    own = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(N_BYTES))
    try:
        os.link(own, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        own.unlink()
