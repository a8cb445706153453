"""Whether a request may pass: signatures, replay, legacy generations, time."""
