"""Whether this worker can serve: loading → benchmarking → ready, or what is wrong. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from workers.pyworker.model.answers import PromptRead
from workers.pyworker.model.load_phases import LoadPhases


class Phase(StrEnum):
    """How far a worker has come since its process started."""

    LOADING = "loading"
    BENCHMARKING = "benchmarking"
    READY = "ready"


class Readiness:
    """The phase and the current error; `on_change` is called at once on each change.

    An error is a level: it ends when the model server is well again, or begins anew; then it stays
    until it was told once, so that the shortest one is known.
    """

    def __init__(self, started_at: float, on_change: Callable[[], None] = lambda: None) -> None:
        self.phase = Phase.LOADING
        self.error = ""
        self.perf = 0.0  # load per second
        self.load_time_s = 0.0  # process start to ready; 0 until then
        self.phases = LoadPhases(started_at)
        self.models: tuple[str, ...] = ()  # names of what is served
        self.slots = 0  # requests worked on at once, learned; 0: not known
        self.prompts: PromptRead | None = None  # by the engine's own counters; None: none there
        self._started_at = started_at
        self._is_told = True
        self._ends_when_told = False
        self.on_change = on_change

    @property
    def is_ready(self) -> bool:
        """Whether requests are served."""
        return self.phase is Phase.READY and not self.error

    def model_loaded(self) -> None:
        """The model server answers; its speed is measured next."""
        self.phase = Phase.BENCHMARKING
        self.recovered()

    def benchmarked(self, perf: float, now: float) -> None:
        """The worker is ready at this speed (load per second)."""
        self.phase = Phase.READY
        self.phases.end(now)
        self.perf = perf
        self.load_time_s = self.load_time_s or max(now - self._started_at, 1e-3)
        self.error, self._is_told, self._ends_when_told = "", True, False
        self.on_change()

    def model_gone(self, error: str, now: float) -> None:
        """The model server restarts or was lost: back to loading, with the reason."""
        self.phase = Phase.LOADING
        self.phases = LoadPhases(now)
        self._set_error(error)

    def failed(self, error: str) -> None:
        """Something is wrong; the phase stays."""
        self._set_error(error)

    def recovered(self) -> None:
        """What was wrong is over."""
        if self._is_told:
            self._set_error("")
        else:
            self._ends_when_told = True

    def told(self, error: str) -> None:
        """The control plane has been told this."""
        if error == self.error:
            self._is_told = True
            if self._ends_when_told:
                self._set_error("")

    def _set_error(self, error: str) -> None:
        self._ends_when_told = False
        if error != self.error:
            self.error, self._is_told = error, not error
            self.on_change()
