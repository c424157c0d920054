"""Text from outside (ids, labels, errors) made safe to show, embed or paste."""
