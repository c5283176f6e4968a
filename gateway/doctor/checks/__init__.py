"""What the doctor looks at, one thing in each module."""
