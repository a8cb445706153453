"""The discrete-event world: market, machines, requests, their queue and the bill."""
