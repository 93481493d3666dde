"""Weights that ship with the package, one folder a model (Hugging Face format)."""
