"""Losses on logits: a pure function and a small module each, and their weighted sum."""
