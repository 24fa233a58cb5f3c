"""GGUF files: a model's settings, its rounded weights and its tokenizer in one file.

What the file's metadata means is said in the settings of the family's own file; the weights are
read under the names that the same model has in Hugging Face layout.
"""
