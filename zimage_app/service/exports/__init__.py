"""Settings as files of other programs, which make the same picture there."""
