"""Floor 5: searches. One file per algorithm over the one loop in ``base.py``."""
