"""What residuum leaves on disk, one type for each file: writers, printers, pages and resume share them."""
