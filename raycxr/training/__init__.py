"""The training loop in plain torch, and the one file that puts it on Ray Train."""
