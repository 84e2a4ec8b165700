"""The Hydra configuration groups."""
