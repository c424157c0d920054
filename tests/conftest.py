"""One Hypothesis profile for all tests: these machines are shared, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("lab", deadline=None, max_examples=60)
settings.load_profile("lab")
