"""The page's HTTP layer: allowed Gradio routes, sessions, cookies, calls from the page's scripts, the public API."""
