"""``sg-vllm sidecar``: the protection in front of an engine that cannot be touched."""
