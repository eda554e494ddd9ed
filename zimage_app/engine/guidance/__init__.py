"""Classifier-free guidance, and rules that change text features, attention or the guided prediction.

Each rule is a class in its own file and an entry of the table in ``rules.py``; no other module names it. ``model.py``
builds the denoiser that a sampler calls.
"""
