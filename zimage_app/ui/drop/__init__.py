"""Pictures and workflows dropped on the page: read, and answered with their settings."""
