"""`python -m workers.pyworker`: serve the back end named by BACKEND."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

from workers.pyworker.back_end import BackEnd
from workers.pyworker.registry import BackEndError, load_back_end
from workers.pyworker.reporting.log_format import set_up_logging
from workers.pyworker.serving.server import Worker, run_until_signalled
from workers.pyworker.settings import SettingsError, WorkerSettings


def main(back_end: BackEnd | None = None) -> int:
    """Run until signalled; 2 when the environment is not usable."""
    try:
        settings = WorkerSettings.from_env()
        chosen = back_end or load_back_end(os.environ.get("BACKEND", ""))
    except (SettingsError, BackEndError) as error:
        print(f"pyworker: {error}", file=sys.stderr)
        return 2
    set_up_logging(settings.log_level)
    # What was imported stays: the collector need not walk it again in the middle of a request.
    gc.collect()
    gc.freeze()
    asyncio.run(run_until_signalled(Worker(settings, chosen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
