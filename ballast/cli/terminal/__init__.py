"""What a person sees and is asked: tables, questions, cautions, waiting."""
