"""How the tiny pack is built: from packages of icons and weights to three trained models."""
