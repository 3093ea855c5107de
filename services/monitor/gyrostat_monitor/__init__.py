"""The monitor sees what is really happening."""
