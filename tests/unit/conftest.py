"""How hypothesis works here: without a deadline, for a machine that is busy with something else breaks no promise."""

from hypothesis import settings

settings.register_profile("gyrostat", deadline=None)
settings.load_profile("gyrostat")
