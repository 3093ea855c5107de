"""What the registry can do: one class per concern, one public method per sentence, one transaction each."""
