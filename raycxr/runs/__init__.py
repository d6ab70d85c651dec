"""Runs and bundles as they lie in storage: written, listed, chosen and pulled without torch or ray."""
