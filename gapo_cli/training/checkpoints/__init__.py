"""Checkpoints that are whole or not there, and where a resumed run starts."""
