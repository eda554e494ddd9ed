"""The start picture, and the editor of its mask."""
