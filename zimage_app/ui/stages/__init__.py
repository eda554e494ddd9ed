"""Scripts and styles of the stages' tabs and of the picture's size; ``ui/fields`` has the Python part."""
