"""Hypotheses: Python files that say what a circuit computes, and the tests that try to refute them.

This module holds the language, and loads neither jax nor torch: a hypothesis is written, and its
program runs, without any network.
"""

from circuitgraph.graph.site import Site, embed, feature, head, logits, mlp, neuron
from circuitgraph.hypotheses.language import Hypothesis

__all__ = ["Hypothesis", "Site", "embed", "feature", "head", "logits", "mlp", "neuron"]
