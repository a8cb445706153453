"""The fakes put together as each function's ports."""
