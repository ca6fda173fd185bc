"""The documents: their links, their tables, and every command and snippet in them."""
