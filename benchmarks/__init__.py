"""How fast it is, and beside what: each module is one command, `python -m benchmarks.NAME`; see docs/benchmarks.md."""
