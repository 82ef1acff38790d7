"""How a net is trained, one file a recipe, each a function of what it may know of the work at hand (recipe.Task).

A recipe is plain data (recipe.Recipe): no torch, no lookup. To make a variant, call one and replace fields.
"""
