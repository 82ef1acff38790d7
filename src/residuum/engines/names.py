"""What the tensors of a graph are called, in every engine.

Letters: B pictures or views, H and W a picture's sides and S a view's, in pixels; D features, K classes.
"""

PICTURES = "pictures"
"""(B, H, W, 3) uint8, of any size: where an exported graph begins."""
RESIZE_TO = "resize_to"
"""int64, the shorter side in pixels that pictures are brought to; by default as the net was trained."""
VIEWS = "views"
"""(B, S, S, 3) uint8: where a graph in the cache begins, and where an exported one has cut its views."""
CENTRED, SCALED = "centred", "scaled"
"""The two nodes that normalise views."""
NORMALISED = "normalised"
"""(B, 3, S, S) float32, what the first convolution reads."""
PROBABILITIES = "probabilities"
"""(B, K) float32."""
FEATURES = "features"
"""(B, D) float32, what the last layer reads."""
