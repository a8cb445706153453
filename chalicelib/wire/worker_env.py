"""Variables that a template sets and both sides read: the launcher, and the worker on the machine.

One reader, so that a grant never says https for a worker that serves http. The vendor's own
PyWorkers compare with exactly `true` as well.
"""

from __future__ import annotations

import re
import shlex

_SETS = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def docker_variables(flags: str) -> dict[str, str]:
    """The variables that docker's flags set: `-e NAME=VALUE`, `-eNAME=VALUE`, `--env=NAME=VALUE`.

    As docker does, the last one wins. Text whose quotes do not match is split at its blanks.
    """
    try:
        words = shlex.split(flags)
    except ValueError:
        words = flags.split()
    found = {}
    for word in words:
        text = word.removeprefix("--env=")
        text = text.removeprefix("-e") if text.startswith("-e") else text
        if sets := _SETS.fullmatch(text):
            found[sets[1]] = sets[2]
    return found


def reads_as_true(value: str) -> bool:
    """Whether a flag such as USE_SSL is set: exactly `true`."""
    return value == "true"
