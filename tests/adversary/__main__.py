# ruff: noqa: T201
"""`python -m tests.adversary`: role x goal x bound x best game; the script of a game that wins.

With `--real` the games on real processes: a local system is started for them, and ended.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lab.local.system.local_system import Options, local_system
from tests.adversary import processes
from tests.adversary.game import Best, Game, search
from tests.adversary.suite import GAMES


def row(best: Best) -> str:
    """A line of the table, which docs/internals/security.md holds."""
    game = best.game
    verdict = "WON" if best.is_won else "held"
    return (
        f"| {game.role} | {game.goal} | {game.measure} | {game.bound:.3g} | {best.score:.3g} "
        f"| {verdict} | {best.n_games} | {game.where} |"
    )


def main() -> None:
    """Play every game and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.adversary", description=__doc__)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a game's name")
    parser.add_argument("--real", action="store_true", help="the games on real processes")
    given = parser.parse_args()
    games = [game for game in (processes.GAMES if given.real else GAMES) if given.only in game.name]
    if not given.real:
        sys.exit(play(games, given.games, given.seed))
    with local_system(Options(time_scale=60.0, round_interval_s=1.0), told) as system:
        town = processes.Town(system)
        processes.use(town)
        status = play(games, given.games, given.seed)
        town.end()
    sys.exit(status)


def told(text: str) -> None:
    """Beside the table."""
    print(text, file=sys.stderr, flush=True)


def play(games: Sequence[Game], n_games: int, seed: int) -> int:
    """Play them all and print the table; 1 if a promise is broken."""
    print(f"seed {seed}, {n_games} games each")
    print("| role | goal | measure | bound | best | | games | over |")
    print("|---" * 8 + "|")
    won = []
    for game in games:
        best = search(game, n_games, seed)
        print(row(best), flush=True)
        if best.is_won:
            won.append(best)
    for best in won:
        print(best.told())
    return 1 if won else 0


if __name__ == "__main__":
    main()
