"""All texts of the page in Chinese and English, one file per feature; ``i18n.py`` combines them."""
