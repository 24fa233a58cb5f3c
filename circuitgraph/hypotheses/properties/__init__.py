"""Property tests of hypotheses: prompts are drawn, and counterexamples are hunted and shrunk."""
