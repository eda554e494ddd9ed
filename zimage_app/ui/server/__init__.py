"""The page's side of HTTP: which of Gradio's routes are served, sessions, cookies, calls of the page's scripts."""
