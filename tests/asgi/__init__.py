"""Tests of ``asgi.protect``: any application, whatever engine is behind it."""
