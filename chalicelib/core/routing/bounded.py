"""A mapping that forgets: what one process remembers between requests never grows without end."""

from __future__ import annotations

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Bounded(dict[Key, Value]):
    """A dict of at most `limit` entries; a new one drops the one that was written longest ago.

    Emptied at once, as a dict that is full usually is, it would forget every caller's use in the
    moment in which there are most of them.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: Key, value: Value) -> None:
        """Write; the entry is the newest then."""
        self.pop(key, None)
        if len(self) >= self.limit:
            del self[next(iter(self))]
        super().__setitem__(key, value)

    def setdefault(self, key: Key, default: Value) -> Value:
        """As a dict's, bounded too."""
        if key not in self:
            self[key] = default
        return self[key]
