"""`ballast`, also `python -m ballast.cli`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.root import root


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command; gives the exit code."""
    try:
        result = root.main(list(arguments), prog_name="ballast", standalone_mode=False)
    except click.ClickException as error:
        code, fix = error.exit_code, "--help tells what is allowed"
        if isinstance(error, CliError):
            code, fix = int(error.code), error.fix
        if "--json" in arguments:
            answer = {"success": False, "code": code, "msg": error.format_message(), "fix": fix}
            click.echo(json.dumps(answer), err=True)
        else:
            error.show()
        return code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nballast: interrupted", err=True)
        return int(ExitCode.INTERRUPTED)
    return result if isinstance(result, int) else int(ExitCode.OK)


if __name__ == "__main__":
    main()
