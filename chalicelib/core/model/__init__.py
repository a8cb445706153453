"""The nouns: worker, group, autogroup, offer, instance, key."""
