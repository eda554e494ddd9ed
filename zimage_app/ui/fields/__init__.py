"""The page's input fields: how a knob is drawn from its declaration, and from field values to a request."""
