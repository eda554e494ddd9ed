"""Limits and permissions, which the rest of the service enforces."""
