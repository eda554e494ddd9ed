"""The LoRA list with its picker, and the routes that feed it."""
