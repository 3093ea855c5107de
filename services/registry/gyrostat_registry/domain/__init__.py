"""What the registry knows: values and pure functions. No I/O, no clock, no driver."""
