"""Circuits in the formats of other tools: one file per format, read or written or both."""
