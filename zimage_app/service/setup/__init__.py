"""Settled once at the start: flags, environment, settings file, folders, port, the surroundings of a Space."""
