"""A pretend market in real time: one lock, one ticking thread, real processes."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakes.market.market import Market
from fakes.market.market_config import MarketConfig
from lab.local.market.market_file import DEFAULT_MARKET_FILE, load_market_file
from lab.local.market.marketplace_processes import ProcessDriver
from lab.local.processes.process_watchdog import ProcessWatchdog

TICK_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketSettings:
    """How a market is set up. `config` wins over `market_file`."""

    market_file: Path = DEFAULT_MARKET_FILE
    config: MarketConfig | None = None
    time_scale: float = 1.0  # delays so many times shorter, bills so many times faster
    seed: int = 0
    state_dir: Path | None = None  # None: a temporary one
    enforces_limits: bool = False


@dataclass(frozen=True, slots=True)
class MarketWorld:
    """A market, what runs on it, and the lock that every use of either holds."""

    market: Market
    driver: ProcessDriver
    now: Callable[[], float] = time.time
    lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def at_now(self) -> Iterator[float]:
        """Hold the lock; gives the time."""
        with self.lock:
            yield self.now()

    def tick(self) -> None:
        """Let everything happen that is due."""
        with self.at_now() as now:
            self.market.advance(now)
            self.driver.tick()


@contextmanager
def open_world(settings: MarketSettings) -> Iterator[MarketWorld]:
    """A ticking market; at the end, however it comes, all processes are ended.

    Raises:
        MarketFileError: the market file cannot be used.
    """
    description = load_market_file(settings.market_file)
    with (
        tempfile.TemporaryDirectory(prefix="ballast-market-") as temporary,
        ProcessWatchdog() as watchdog,
    ):
        driver = ProcessDriver(settings.state_dir or Path(temporary), watchdog)
        market = Market(
            settings.config or description.config,
            seed=settings.seed,
            driver=driver,
            enforces_limits=settings.enforces_limits,
        )
        world = MarketWorld(market, driver)
        with world.at_now() as now:
            market.set_time_scale(settings.time_scale, now)
            _add_templates(market, description.templates, now)
        with _ticking(world):
            yield world


def _add_templates(market: Market, rows: Sequence[Mapping[str, object]], now: float) -> None:
    for row in rows:
        market.templates.add(row, now)


@contextmanager
def _ticking(world: MarketWorld) -> Iterator[None]:
    is_over = threading.Event()

    def tick_until_over() -> None:
        while not is_over.wait(TICK_S):
            world.tick()

    thread = threading.Thread(target=tick_until_over, name="market-tick", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        with world.lock:
            world.driver.close()
