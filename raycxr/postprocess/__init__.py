"""From probabilities to masks."""
