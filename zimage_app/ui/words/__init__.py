"""Every word of the page in Chinese and English, one file a feature; ``i18n.py`` gathers them."""
