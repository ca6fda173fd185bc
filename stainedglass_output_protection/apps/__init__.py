"""Programs: they may import every other layer, and nothing imports them."""
