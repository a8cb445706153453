"""The commands, one noun or verb a file in five rooms; each file offers `COMMANDS` to the root."""
