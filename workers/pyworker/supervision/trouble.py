"""What keeps the model server from starting, told by the supervisor to the PyWorker beside it.

Both report to the control plane. Without this the PyWorker's next report, which knows of no error,
would end the supervisor's ten seconds later, and so on in turn.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

FILE = "model_trouble.txt"
MAX_WORDS = 500


def note(state_dir: Path, words: str) -> None:
    """Keep it; on a full or read-only disk it is told by the supervisor's reports alone."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        (state_dir / FILE).write_text(words[:MAX_WORDS])
    except OSError as error:
        logger.warning("trouble not noted", extra={"reason": error.strerror})


def forget(state_dir: Path) -> None:
    """The model server is ready, or is started for the first time."""
    with suppress(OSError):
        (state_dir / FILE).unlink(missing_ok=True)


def noted(state_dir: Path) -> str:
    """The words, or ""."""
    try:
        return (state_dir / FILE).read_text(errors="replace")[:MAX_WORDS]
    except OSError:
        return ""
