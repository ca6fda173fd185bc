"""The ASGI side: key ring, rotation, responder, middleware. Knows nothing of vLLM."""
