"""Makes the demo model: draws scenes, writes captions, trains the weights, exports the model folder.

The app imports nothing from here; it only reads the folder that :mod:`tools.demo_model.export` writes.
"""
