"""The commands, one noun or verb a file; each file offers `COMMANDS` to the root."""
