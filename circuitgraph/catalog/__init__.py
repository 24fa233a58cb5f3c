"""Floor 2: what is kept of a result. Records, and the files they live in; no model is ever run
here.
"""
