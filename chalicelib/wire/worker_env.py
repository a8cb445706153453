"""Variables that a template sets and both sides read: the launcher, and the worker on the machine.

One reader, so that a grant never says https for a worker that serves http. The vendor's own
PyWorkers compare with exactly `true` as well.
"""


def reads_as_true(value: str) -> bool:
    """Whether a flag such as USE_SSL is set: exactly `true`."""
    return value == "true"
