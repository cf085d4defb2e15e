"""How generations are judged: against the reference photo (identity), and against the prompt."""
