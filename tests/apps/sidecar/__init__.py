"""Tests of ``sg-vllm sidecar``, in front of engines that know nothing of it."""
