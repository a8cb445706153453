"""A game: a program that holds only what its role holds tries to win, by a bounded search.

A script is a list of actions. The search draws scripts, and then changes the best one so far: an
action more, one less, or another in its place. All of it follows from the printed seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Action = tuple[object, ...]
Script = Sequence[Action]

DRAWN_SHARE = 0.4
"""Of the games, the part that is drawn anew; the others change the best one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Game:
    """`play` gives what a script achieves; more than `bound` wins."""

    role: str
    goal: str
    measure: str
    bound: float
    draw: Callable[[random.Random], Action]
    play: Callable[[Script], float]
    length: int = 12
    where: str = "fakes"  # what it runs over
    most_games: int = 1_000_000  # fewer where one takes seconds

    @property
    def name(self) -> str:
        """Role and goal."""
        return f"{self.role}: {self.goal}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """What the search found."""

    game: Game
    seed: int
    n_games: int
    score: float
    script: Script

    @property
    def is_won(self) -> bool:
        """Whether the adversary did more than it may."""
        return self.score > self.game.bound

    def told(self) -> str:
        """The script that won, an action a line."""
        lines = "\n".join(f"    {action!r}" for action in self.script)
        return f"{self.game.name} (seed {self.seed}) reached {self.score:g}:\n{lines}"


def search(game: Game, n_games: int, seed: int) -> Best:
    """The best script of so many games."""
    n_games = min(n_games, game.most_games)
    dice = random.Random(f"{seed} {game.name}")
    score, script = float("-inf"), list[Action]()
    for i in range(n_games):
        is_drawn = i < max(1, n_games * DRAWN_SHARE)
        tried = _drawn(game, dice) if is_drawn else _changed(game, script, dice)
        reached = game.play(tried)
        if reached > score:
            score, script = reached, tried
    return Best(game=game, seed=seed, n_games=n_games, score=score, script=script)


def _drawn(game: Game, dice: random.Random) -> list[Action]:
    return [game.draw(dice) for _ in range(dice.randint(1, game.length))]


def _changed(game: Game, script: Script, dice: random.Random) -> list[Action]:
    changed = list(script)
    at = dice.randrange(len(changed))
    what = dice.random()
    if what < 0.4:
        changed.insert(at, game.draw(dice))
    elif what < 0.8 or len(changed) == 1:
        changed[at] = game.draw(dice)
    else:
        del changed[at]
    return changed
