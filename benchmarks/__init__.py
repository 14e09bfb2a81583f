"""Measurements of the whole server; docs/benchmarks.md says what came of them."""
