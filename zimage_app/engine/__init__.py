"""One run, from a plan to a picture: samplers, guidance, hand-over between stages. Begin with ``run.py``."""
