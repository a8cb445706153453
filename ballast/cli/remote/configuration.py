"""Where the server's address and the key come from: option, environment, or a private file."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ballast.cli.errors import CliError, ExitCode

LOGIN_FIX = "run `ballast login`, or set BALLAST_URL and BALLAST_API_KEY"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What `ballast login` stored."""

    url: str = ""
    api_key: str = ""


def configuration_path(environment: Mapping[str, str] | None = None) -> Path:
    """BALLAST_CONFIG, or ballast/config.json in the user's configuration directory."""
    env = os.environ if environment is None else environment
    if env.get("BALLAST_CONFIG"):
        return Path(env["BALLAST_CONFIG"])
    base = env.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "ballast" / "config.json"


def read_configuration(path: Path) -> Configuration:
    """Read the file; an absent one is empty.

    Raises:
        CliError: others may read the file, or it is not what `ballast login` wrote.
    """
    if not path.exists():
        return Configuration()
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise CliError(
            f"{path} holds your key and others may read it (mode {mode:04o})",
            code=ExitCode.UNAUTHORISED,
            fix=f"chmod 600 {path}",
        )
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Configuration(url=str(stored["url"]), api_key=str(stored["api_key"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(
            f"{path} is not a configuration of ballast", code=ExitCode.USAGE, fix=LOGIN_FIX
        ) from error


def write_configuration(path: Path, configuration: Configuration) -> None:
    """Write the file so that nobody else can ever read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps({"url": configuration.url, "api_key": configuration.api_key}, indent=2)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text + "\n")
    temporary.replace(path)
