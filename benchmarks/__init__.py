"""Benchmarks that are run by hand; each prints a readable table, and one JSON object as its last line."""
