"""What was made: listed, searched, starred, deleted and undone. The PNGs are the truth; a database is their index."""

from zimage_app.service.pictures.history.history import History
from zimage_app.service.pictures.history.index import HistoryItem, HistoryPage, Search

__all__ = ["History", "HistoryItem", "HistoryPage", "Search"]
