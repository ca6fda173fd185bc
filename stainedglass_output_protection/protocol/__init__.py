"""The protocol core: no I/O, no clock, no environment, no logging, no asyncio.

Everything here is a pure function or an object that is pushed bytes and gives bytes
back. Time and randomness come in as arguments or from ``cryptography``'s key makers.
The specification is ``docs/protocol.md``.
"""
