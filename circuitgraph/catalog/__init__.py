"""Floor 2: records of results, and the files they live in; no model is ever run here."""
