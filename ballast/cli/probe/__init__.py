"""The first real contact with Vast: what it answers, held against what Ballast relies on."""
