"""What goes on: hatches, who watches them, and the dialogue with each client."""
