"""The tree: runs in which different paths read different prompts."""
