"""What a model is asked. Prompt grammars, pairs from files, and metrics."""
