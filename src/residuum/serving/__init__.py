"""A server that answers over HTTP: many at once, within bounds that are said."""
