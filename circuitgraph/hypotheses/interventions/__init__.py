"""Interventions that a program predicts: variables swapped between prompts, or resampled."""
