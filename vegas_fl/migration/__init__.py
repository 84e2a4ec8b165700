"""Import from the replaced system: its JSON configurations and its generators' checkpoints."""
