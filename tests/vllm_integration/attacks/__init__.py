"""What a relay between client and server may do, and what comes of it."""
