"""What computes a net's answers, once it is trained."""
