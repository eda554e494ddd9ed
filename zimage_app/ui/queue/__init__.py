"""The queue panel behind the job pill."""
