"""What adapters raise, whatever stands behind them. `api/errors.py` maps these to HTTP.

PortError
├── ConflictError            somebody else changed the row first; read again
├── NotFoundError            no such thing
├── StorageUnavailableError  DynamoDB throttles, is slow or down
├── KeysUnavailableError     KMS is down or refuses
├── NotDeployedError         both of these: there are no tables
└── MarketplaceError         see `ports/marketplace.py`
"""


class PortError(Exception):
    """The world did not do what was asked."""


class ConflictError(PortError):
    """Somebody else changed the row first."""


class NotFoundError(PortError):
    """There is no such thing."""


class StorageUnavailableError(PortError):
    """The database throttles, is slow or down."""


class KeysUnavailableError(PortError):
    """KMS is down or refuses."""


class NotDeployedError(StorageUnavailableError, KeysUnavailableError):
    """The functions stand without their tables; the message is the command that makes them."""
