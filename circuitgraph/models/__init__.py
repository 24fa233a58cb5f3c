"""What runs. A declarative spec, one readable transformer, the loading of checkpoints."""
