"""Circuits as pictures. (Not `render`, which is the function `circuitgraph.render`.)"""
