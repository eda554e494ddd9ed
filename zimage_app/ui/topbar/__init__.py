"""The top bar: title, language, theme, and the state of queue and machine with a panel of details."""
