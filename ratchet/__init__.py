"""The nouns that every step shares: records, releases, channels, rollouts, approvals, the ledger and the store."""
