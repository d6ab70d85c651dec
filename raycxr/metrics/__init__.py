"""Agreement between predicted and true masks, per image and class, and its interval over images."""
