"""Aids next to the prompt: token count, wildcards, trigger words, hints."""
