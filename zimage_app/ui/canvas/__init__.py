"""The canvas in the middle of the page: the running job, the picture, its settings; and saved pictures over HTTP."""
