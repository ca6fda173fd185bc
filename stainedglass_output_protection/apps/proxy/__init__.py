"""A local proxy: plain OpenAI and Anthropic requests in, sealed ones out."""
