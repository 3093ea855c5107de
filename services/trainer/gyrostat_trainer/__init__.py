"""The trainer makes a better candidate, with evidence."""
