"""A BERT without padding: texts lie one after the other."""
