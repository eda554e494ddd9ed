"""From files to networks in memory: the plan for the device's memory, then the loading."""
