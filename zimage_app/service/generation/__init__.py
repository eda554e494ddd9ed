"""Making pictures: the model in memory (``model_slot.py``), its runs (``generator.py``), start pictures."""
