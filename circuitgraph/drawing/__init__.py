"""Floor 2: circuits as pictures. (Not `render`, which is the function `circuitgraph.render`.)"""
