"""Run folders -> one self-contained HTML page; reads the folders' files only."""
