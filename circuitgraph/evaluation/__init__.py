"""How good a circuit is, on prompts that discovery did not see."""
