"""What can be connected. Names, the graph of a transformer, and circuits in it."""
