"""A discrete-event world around the decision code that the Lambda runs."""
