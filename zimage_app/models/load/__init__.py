"""Loads models from files: ``memory_plan.py`` decides where the weights go, ``loader.py`` loads them."""
