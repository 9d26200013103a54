"""Pictures and captions as people bring them: what is there, what is wrong with it, and what to do about it."""
