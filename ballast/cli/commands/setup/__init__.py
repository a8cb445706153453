"""Before the first group: sign in, secrets, who is told, templates; and is all of it right?"""
