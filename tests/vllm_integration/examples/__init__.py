"""The programs of docs/examples against real vLLM, plain and protected."""
