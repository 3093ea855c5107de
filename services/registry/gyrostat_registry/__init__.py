"""The registry decides, with evidence, what is live."""
