"""The `ratchet` command, one file per noun."""
