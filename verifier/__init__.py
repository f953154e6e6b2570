"""The approval verifier: a small process of its own that holds people's one-time-code secrets and signs decisions."""
