"""Everything that page, web API and command line ask for. ``studio.py`` is the way in; it knows none of the three."""
