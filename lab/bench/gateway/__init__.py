"""The hot function behind the local gateway, against its limits."""
