"""Back end: anything that speaks the OpenAI API."""
