"""The façade that callers reach: routes, envelopes, sessions."""
