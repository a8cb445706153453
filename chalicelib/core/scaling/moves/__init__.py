"""From a target to actions: rent, start, drain, stop, repair, return."""
