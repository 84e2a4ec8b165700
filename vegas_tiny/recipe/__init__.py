"""How the tiny pack is made: from named packages of icons and weights to three trained models."""
