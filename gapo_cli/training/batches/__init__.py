"""Groups and examples as tensors that fit the memory."""
