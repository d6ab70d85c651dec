"""How good a trained model is: per film, per structure, at the size in which the masks were drawn."""
