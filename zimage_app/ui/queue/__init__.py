"""The queue panel, which opens from the top bar, and the signals at a run's end."""
