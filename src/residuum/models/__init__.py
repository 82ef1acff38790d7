"""Tensors in, tensors out: the residual family from one specification."""
