"""The page's input fields: how controls are built from the request's fields, and values are turned into a request."""
