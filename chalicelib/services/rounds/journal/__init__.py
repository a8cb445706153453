"""What a round leaves for people: decisions, troubles, minutes, spend, notices."""
