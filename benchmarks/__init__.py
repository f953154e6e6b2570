"""Measurements: `python -m benchmarks.bench_<name> [--quick] [--json]`; results go to docs/results/."""
