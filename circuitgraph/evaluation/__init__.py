"""Floor 5: how good a circuit is, on prompts that discovery did not see."""
