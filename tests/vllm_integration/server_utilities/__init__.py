"""Each row of vLLM's server utilities, unmodified, around the protection (``table.py``)."""
