"""Every game there is."""

from __future__ import annotations

from tests.adversary import crowds, hosts, money, pages, strangers, tenants
from tests.adversary.game import Game

GAMES: tuple[Game, ...] = (
    *strangers.GAMES,
    *tenants.GAMES,
    *hosts.GAMES,
    *money.GAMES,
    *pages.GAMES,
    *crowds.GAMES,
)
