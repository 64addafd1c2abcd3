"""What server and client share to run the sans-I/O cores on Trio: timers, the PPP session, the control connection."""
