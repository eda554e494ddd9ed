"""What may be asked for and by whom: limits and permissions. Everything above asks them."""
