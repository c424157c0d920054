"""What every page of ours is made with: safe text, the parts of a figure, one file that needs no network."""
