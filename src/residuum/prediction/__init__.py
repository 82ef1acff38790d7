"""A finished model and pictures in, answers out."""
