"""Services, market and workers joined in virtual time."""
