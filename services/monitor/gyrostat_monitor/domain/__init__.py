"""What the monitor knows: values and pure functions over event time. No clock, no I/O, no protobuf."""
