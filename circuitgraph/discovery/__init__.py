"""Searches. One file per algorithm over the one loop in ``base.py``."""
