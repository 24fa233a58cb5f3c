"""Property tests of hypotheses: prompts are drawn, exceptions hunted, and what is found is shrunk
to the simplest.
"""
