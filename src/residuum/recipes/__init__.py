"""How a net is trained, one file a recipe, each a function of the number of training pictures.

A recipe is plain data (settings.Recipe): no torch, no lookup. To make a variant, call one and replace fields.
"""
