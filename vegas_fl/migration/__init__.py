"""What users of the replaced system bring along: its JSON configurations and its generators' checkpoints."""
