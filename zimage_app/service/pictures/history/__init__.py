"""The history: lists, searches, stars, deletes and restores pictures. A database indexes the PNG files."""

from zimage_app.service.pictures.history.history import History
from zimage_app.service.pictures.history.index import MAX_SEARCH, HistoryItem, HistoryPage, Search

__all__ = ["MAX_SEARCH", "History", "HistoryItem", "HistoryPage", "Search"]
