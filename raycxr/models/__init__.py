"""Networks: logits out, one class or builder per architecture."""
