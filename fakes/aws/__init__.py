"""AWS in virtual time: its limits, throttles and delays, under the product's own adapters."""
