"""Everything that runs in Lambda: core decisions, messages, services, adapters and HTTP routes."""
