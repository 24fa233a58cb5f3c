"""Floor 3: what runs. A declarative spec, one readable transformer, and the loading of checkpoints."""
