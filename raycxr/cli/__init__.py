"""The verbs, a few lines each."""
