"""Plain values and pure arithmetic for all other packages: requests, plans, records, schedules. No torch, no files."""
