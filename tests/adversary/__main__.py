# ruff: noqa: T201
"""`python -m tests.adversary`: role x goal x bound x best game; the script of a game that wins."""

from __future__ import annotations

import argparse
import sys

from tests.adversary.game import Best, search
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
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.games} games each")
    print("| role | goal | measure | bound | best | | games | over |")
    print("|---" * 8 + "|")
    won = []
    for game in GAMES:
        if given.only not in game.name:
            continue
        best = search(game, given.games, given.seed)
        print(row(best), flush=True)
        if best.is_won:
            won.append(best)
    for best in won:
        print(best.told())
    sys.exit(1 if won else 0)


if __name__ == "__main__":
    main()
