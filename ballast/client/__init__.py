"""What a caller holds in hand: SDK and load test. Sees only chalicelib.wire."""
