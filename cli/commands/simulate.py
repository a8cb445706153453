"""`simulate`: what other parameters would have cost on the group's own traffic."""

COMMANDS = ()
