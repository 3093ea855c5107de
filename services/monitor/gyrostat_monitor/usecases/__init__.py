"""What the monitor can do: observe, archive, join, evaluate, judge, answer questions."""
