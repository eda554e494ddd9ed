"""Runs a plan and returns a picture: samplers, guidance, hand-over between stages. Start reading at ``run.py``."""
