"""Diagnostics of app and machine: doctor, details, log, monitor, and the ZIP for a bug report."""
