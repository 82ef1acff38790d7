"""A finished model and pictures in, why it answers so out."""
