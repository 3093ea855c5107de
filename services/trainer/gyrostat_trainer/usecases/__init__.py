"""What the trainer can do: decide about causes, work off runs, answer questions about them, take datasets in."""
