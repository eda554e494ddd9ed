"""The picture to start from, and the editor of its mask."""
