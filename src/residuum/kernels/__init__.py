"""What training computes outside the convolutions, in C++ for processors: compiled once, on the user's machine."""
