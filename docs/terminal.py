"""Running programs as a person would: at a terminal, or until they said something."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence


def run_at_terminal(
    words: Sequence[str], environment: Mapping[str, str], answers: Sequence[str]
) -> tuple[int, str]:
    """Run a program at a terminal of its own and type the answers; its exit code and what stays."""
    mine, its = pty.openpty()
    with subprocess.Popen(
        words, env=dict(environment), stdin=its, stdout=its, stderr=its, start_new_session=True
    ) as process:
        os.close(its)
        output = ""
        left = list(answers)
        while chunk := _read_terminal(mine):
            output += chunk
            if left and output.rstrip().endswith(":"):
                os.write(mine, f"{left.pop(0)}\n".encode())
    os.close(mine)
    return process.returncode, what_stays(output)


_STEP = re.compile(r"(\x1b\[[0-9;?]*[A-Za-z]|\r?\n|\r)")


def what_stays(output: str) -> str:
    """What a terminal shows in the end: lines that a progress display erased are gone.

    Knows what rich writes: up by n lines (`A`), erase the line (`2K`); colours are dropped.
    """
    lines, row = [""], 0
    for part in _STEP.split(output):
        if part.endswith("\n"):
            row += 1
            lines += [""] * (row == len(lines))
        elif part.startswith("\x1b"):
            if part.endswith("A"):
                row = max(0, row - int(part[2:-1] or 1))
            elif part.endswith("2K"):
                lines[row] = ""
        else:
            lines[row] += part.rstrip("\r")
    return "\n".join(lines)


def _read_terminal(terminal: int) -> str:
    """What came next; "" once the program has closed its terminal."""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""


def run_until(words: Sequence[str], environment: Mapping[str, str], text: str) -> tuple[int, str]:
    """Run a program until the end of the first lines with a text, then press Ctrl-C."""
    with subprocess.Popen(
        words,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines: list[str] = []
        for line in process.stdout or ():
            if any(text in one for one in lines) and text not in line:
                break
            lines.append(line)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    return process.returncode, "".join(lines)
