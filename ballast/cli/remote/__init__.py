"""What the command talks to: a deployment over HTTP, AWS, Vast with the owner's key."""
