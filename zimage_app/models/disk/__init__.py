"""Reading files that anybody may have put there: regular files only, YAML strictly, folders by name."""
