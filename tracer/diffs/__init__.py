"""Two traces beside each other: what is the same, what only has other numbers, what differs."""
