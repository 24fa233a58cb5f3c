"""Records of results, and the files they live in; no model is ever run here."""
