"""Hypotheses as data and as files: stored, written out again, or begun from a circuit."""
