"""Floor 2: circuits as pictures."""
