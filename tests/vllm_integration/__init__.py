"""Tests against real vLLM servers, started here with the tiny model."""
