"""What is answered over plain HTTP, the page and event streams included."""
