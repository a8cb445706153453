"""Running programs as a person would: at a terminal, or until they said something."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence


def run_at_terminal(
    words: Sequence[str], environment: Mapping[str, str], answers: Sequence[str]
) -> tuple[int, str]:
    """Run a program at a terminal of its own and type the answers; its exit code and output."""
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
    return process.returncode, output


def _read_terminal(terminal: int) -> str:
    """What came next; "" once the program has closed its terminal."""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The output up to the end of the first lines that have the text."""
    if process.stdout is None:
        return ""
    lines: list[str] = []
    for line in process.stdout:
        if any(text in one for one in lines) and text not in line:
            break
        lines.append(line)
    return "".join(lines)
