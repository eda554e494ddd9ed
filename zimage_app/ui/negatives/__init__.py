"""The library of negative prompts on the page."""
