"""A real Grid Engine cluster on one machine, for demo, tests and benchmarks."""
