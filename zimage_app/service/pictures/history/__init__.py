"""The history: lists, searches, stars, deletes and restores pictures. A database indexes the PNG files."""

from zimage_app.service.pictures.history.history import History
from zimage_app.service.pictures.history.index import HistoryItem, HistoryPage, Search

__all__ = ["History", "HistoryItem", "HistoryPage", "Search"]
