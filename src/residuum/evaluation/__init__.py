"""Probabilities and labels in, figures with their intervals out."""
