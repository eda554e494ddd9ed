"""What is seen of the app and its machine: doctor, details, log, monitor, and the ZIP for a bug report."""
