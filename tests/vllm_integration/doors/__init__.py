"""Walks through every door that vLLM mounts, and looks for answers outside of them."""
