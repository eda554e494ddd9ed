"""The model panel: the list of models, download and unloading."""
