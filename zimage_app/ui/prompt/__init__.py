"""What stands by the prompt: tokens, wildcards, trigger words, hints."""
