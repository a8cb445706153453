"""From a model's name to what serves it: its public facts, the back end, the memory, the search."""
