"""Measurements of the protection: cost, size, leakage, first event, memory, throughput.

Ratios are taken within one run; no absolute time means anything on another machine.
"""
