"""The page: a folder for each feature with its Python, markup, scripts and styles. Begin with ``page/page.py``."""

from zimage_app.ui.gradio_import import leave_out_stubs

leave_out_stubs()
