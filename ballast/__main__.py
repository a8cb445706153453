"""`ballast` and `python -m ballast`: the owner's command, or what to install for it.

A client needs `requests` alone, so the command's packages are an extra.
"""

from __future__ import annotations

import sys

NEEDS_EXTRA = frozenset({"boto3", "botocore", "click", "cryptography", "rich", "yaml"})
USAGE_EXIT = 2
"""As ExitCode.USAGE of `ballast.cli.errors`, which needs the extra too."""


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        from ballast.cli.__main__ import main as command
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NEEDS_EXTRA:
            raise
        print(  # noqa: T201
            f"ballast: {missing} is not installed, which the command needs: "
            "pip install 'ballast[cli]'",
            file=sys.stderr,
        )
        sys.exit(USAGE_EXIT)
    command()


if __name__ == "__main__":
    main()
