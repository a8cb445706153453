"""A discrete-event world that judges scaling laws and routing on request traces."""
