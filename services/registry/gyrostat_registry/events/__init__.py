"""What the registry hears and says."""
