"""Readings of nodes: what a head or a neuron does, one file for each method over one trace."""
