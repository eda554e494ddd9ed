"""Makes the demo model: draws the scenes, words the captions, trains the weights, writes the model folder.

Nothing here is imported by the app; it only reads the folder that :mod:`tools.demo_model.export` writes.
"""
