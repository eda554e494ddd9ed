"""The settings of a picture, each declared once, with its bounds, title and help in both languages."""
