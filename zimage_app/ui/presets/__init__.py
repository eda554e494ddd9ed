"""The preset bar."""
