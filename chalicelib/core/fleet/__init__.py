"""Which machines there are, what they report, and what is doubted about them."""
