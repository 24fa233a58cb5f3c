"""What can be wrong with a hypothesis, found before any model runs."""
