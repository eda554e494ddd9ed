"""The history and compare views, and their routes."""
