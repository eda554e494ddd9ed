"""The LoRA list, its picker, and their routes."""
