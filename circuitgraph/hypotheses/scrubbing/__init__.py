"""Causal scrubbing: donors, what is run with them, and what the losses say."""
