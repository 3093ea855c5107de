"""What the monitor hears and says, on the log."""
