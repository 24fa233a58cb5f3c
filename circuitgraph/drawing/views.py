"""The ways to draw a circuit, by name; apart, so that ``--help`` needs no graph for them."""

VIEWS = ("nodes", "layers", "matrix")
MOST_ARROWS = 200  # more of them cannot be told apart
