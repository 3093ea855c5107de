"""Training code that Gyrostat brings along. Each pipeline is a program of its own, run through the same door as
anybody's.

Nothing here is imported by the service: a pipeline is started as a command, and imports nothing of the service
either.
"""
