"""Checkpoints on disk: safetensors files with checked headers, their names, and what is in them."""
