"""Other people's weights: in, from the layouts that everyone uses, and out to them."""
