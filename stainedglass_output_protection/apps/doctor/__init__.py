"""What lies between here and a server, and whether protection holds."""
