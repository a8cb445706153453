"""The main job in three minutes, with a picture."""
