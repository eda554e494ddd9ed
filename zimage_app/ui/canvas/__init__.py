"""The middle of the page: the running job, the picture, its facts; and saved pictures over HTTP."""
