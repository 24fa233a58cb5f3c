"""Floor 2: circuits as pictures. (Not called `render`, so that `circuitgraph.render` can be the
function.)
"""
