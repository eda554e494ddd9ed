"""Generates pictures: the loaded model (``model_slot.py``), its runs (``generator.py``), start pictures."""
