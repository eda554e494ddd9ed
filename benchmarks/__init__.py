"""Measurements that are run by hand; each prints a table for people and one JSON object as its last line."""
