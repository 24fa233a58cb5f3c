"""The frontier: exact greedy search at the cost of what an edge changes."""
