"""How far a release can be made to do harm: suites of attacks, deterministic grading, two releases side by side."""
