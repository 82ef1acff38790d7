"""A trained model handed on: its card, and its way to the hub."""
